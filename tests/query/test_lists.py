"""Filters, sorts and tokens of every list, on both databases."""

from __future__ import annotations

import base64
import contextlib
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from flyteidl.admin import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.database import schema
from app.database.statements import SQLITE
from app.query import filters, lists, pages
from app.query.lists import Listing
from app.services.executions import list_executions
from app.settings.limits import Limits
from benchmarks import plans

Scenario = Callable[..., Any]
EXECUTIONS = Listing(schema.Execution, "execution", joins=(lists.Join("launch_plan", (("launch_plan_id", "id"),)),))
MERGED = Listing(schema.Execution, "execution", ordered_columns=frozenset({"phase"}))
START = datetime(2024, 1, 1, tzinfo=UTC)


def parse(text: str) -> tuple[filters.Filter, ...]:
    return lists.parse_filters(EXECUTIONS, text, Limits())


# The pattern of upstream, which backtracks: right for short texts only.
GREEDY = re.compile(r"(.+)\((.+),[ \t\f\r]?(.+)\)")


class TestGrammar:
    @pytest.mark.heavy
    def test_expressions_are_split_as_the_greedy_pattern_of_upstream_does(self) -> None:
        draw = random.Random(3)
        split = 0
        for _ in range(20_000):
            text = "".join(draw.choices("a(,) ", (2, 2, 2, 2, 1), k=draw.randrange(3, 14)))
            match = GREEDY.search(text)
            if match is None:
                with pytest.raises(errors.InvalidArgument):
                    filters._split(text)
            else:
                assert filters._split(text) == match.groups(), text
                split += 1
        assert split > 2_000

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("eq", "invalid value for filters"),
            ("eq(phase,)", "invalid value for filters"),
            ("eq(phase,a)+", "invalid value for filters"),
            ("+eq(phase,a)", "invalid value for filters"),
            ("eq(task.name,a)", "'t' entity is not allowed in filters"),
            ("eq(name,a)", "'e.name' is invalid filter"),
            ("eq(launch_plan.colour,a)", "'l.colour' is invalid filter"),
            ("like(phase,a)", "unrecognized filter function: like"),
            ("EQ(phase,a)", "unrecognized filter function: EQ"),
            ("like(nothing,a)", "'e.nothing' is invalid filter"),
            ("eq(duration,soon)", "Failed to parse duration [soon]"),
            ("like(duration,soon)", "Failed to parse duration [soon]"),
            ("eq(state,ACTIVE)", 'invalid input syntax for type integer: "ACTIVE"'),
            ("eq(state,4294967296)", 'value "4294967296" is out of range for type integer'),
            ("gt(created_at,yesterday)", 'invalid input syntax for type timestamp with time zone: "yesterday"'),
            (
                "gt(created_at,9999-12-31T23:59:59-23:59)",
                'invalid input syntax for type timestamp with time zone: "9999-12-31T23:59:59-23:59"',
            ),
            (
                f"value_in(phase,{'a;' * 1000}a)",
                "filters have 1001 values, at most 1000 are allowed (limits.filterValuesMax)",
            ),
            (
                f"eq(phase,a){'+eq(phase,a)' * 100}",
                "filters have 101 expressions, at most 100 are allowed (limits.filtersMax)",
            ),
            (
                f"eq(phase,{'a' * 65536})",
                "filters have 65546 characters, at most 65536 are allowed (limits.filtersCharactersMax)",
            ),
            ("eq(phase,a\n)", "invalid value for filters"),
            ("eq(phase,a;b)", "operator does not exist: text = record"),
            ("contains(mode,1)", "operator does not exist: integer ~~ unknown"),
        ],
    )
    def test_refused_filters(self, text: str, message: str) -> None:
        with pytest.raises(errors.InvalidArgument) as caught:
            parse(text)
        assert caught.value.message == message

    @pytest.mark.parametrize(
        ("text", "field", "values"),
        [
            ("eq(phase,RUNNING)", "phase", ("RUNNING",)),
            ("eq(phase, RUNNING)", "phase", ("RUNNING",)),
            ("eq(phase,  RUNNING)", "phase", (" RUNNING",)),
            ("value_in(phase,RUNNING;FAILED)", "phase", ("RUNNING", "FAILED")),
            ("eq(execution.phase,RUNNING)trailing", "phase", ("RUNNING",)),
            ("gte(duration,1.5)", "duration", (1_500_000_000,)),
            ("gte(duration,1h2m)", "duration", (3_720_000_000_000,)),
            ("eq(state,1)", "state", (1,)),
            ("gt(created_at,2024-01-01T00:00:00Z)", "created_at", (START,)),
            ("gt(created_at,2024-01-01)", "created_at", (START,)),
        ],
    )
    def test_parsed_values(self, text: str, field: str, values: tuple[Any, ...]) -> None:
        (found,) = parse(text)
        assert (found.field, found.values) == (field, values)

    @given(st.text(max_size=60))
    @pytest.mark.slow
    @pytest.mark.smoke
    def test_any_text_is_parsed_or_refused(self, text: str) -> None:
        with contextlib.suppress(errors.InvalidArgument):
            parse(text)


class TestTokens:
    @given(
        value=st.one_of(st.none(), st.text(max_size=20), st.datetimes(timezones=st.just(UTC))),
        row_id=st.integers(0, 2**63 - 1),
        ascending=st.booleans(),
    )
    def test_a_token_is_read_as_it_was_written(self, value: Any, row_id: int, ascending: bool) -> None:
        table = schema.table(schema.Execution)
        column = table.c.phase if isinstance(value, str) else table.c.created_at
        sort = pages.Sort(column.key, ascending)
        token = pages.write_token(sort, value, row_id)
        assert not token.isdigit()
        assert pages.read_token(token, sort, column, "X").after == (value, row_id)

    @pytest.mark.parametrize(
        "token",
        ["x", "-1", "1.5", " 1", "9" * 30, "k.", "k.!!", "k." + base64.urlsafe_b64encode(b"[1]").decode()]
        + [
            "k." + base64.urlsafe_b64encode(orjson.dumps(parts)).decode()
            for parts in (
                ["phase", True, "a", "b"],
                ["phase", False, "a", 1],
                ["id", True, 1, 1],
                ["phase", True, 5, 1],
                ["phase", True, {"b": "!"}, 1],
                ["phase", True, "a", 2**63],
                ["phase", True, "a", True],
            )
        ],
    )
    def test_a_broken_or_foreign_token_is_refused(self, token: str) -> None:
        column = schema.table(schema.Execution).c.phase
        with pytest.raises(errors.InvalidArgument) as caught:
            pages.read_token(token, pages.Sort("phase", True), column, "ListExecutions")
        assert caught.value.message == f"invalid pagination token {token} for ListExecutions"

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("id", True),
            ("id", 2**63),
            ("created_at", 5),
            ("created_at", "soon"),
            ("created_at", "0001-01-01T00:00:00+23:59"),
            ("created_at", "9999-12-31T23:59:59-23:59"),
        ],
    )
    def test_a_value_that_no_row_can_hold_is_refused(self, key: str, value: Any) -> None:
        column = schema.table(schema.Execution).c[key]
        token = "k." + base64.urlsafe_b64encode(orjson.dumps([key, True, value, 1])).decode()
        with pytest.raises(errors.InvalidArgument):
            pages.read_token(token, pages.Sort(key, True), column, "ListExecutions")


async def fill(b: Any, count: int) -> None:
    """Executions with equal keys and NULLs in many columns."""
    async with b.context() as ctx:
        for number in range(count):
            await ctx.db.insert(
                schema.Execution,
                execution_project="p",
                execution_domain="d",
                execution_name=f"e{number:03}",
                spec=b"",
                phase=None if number % 4 == 0 else ("A", "B", "C")[number % 3],
                started_at=None if number % 3 == 0 else START + timedelta(seconds=number % 5),
                execution_created_at=START + timedelta(seconds=number % 7),
                duration=None if number % 5 == 0 else number % 6,
                state=0,
            )


async def walk(b: Any, sort: common_pb2.Sort, limit: int, *, between: Any = None) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        async with b.context() as ctx:
            rows, token = await lists.page(
                ctx,
                EXECUTIONS,
                rpc="ListExecutions",
                where={"execution_project": "p"},
                sort_by=sort,
                limit=limit,
                token=token,
                columns=("execution_name",),
            )
        found += [row.execution_name for row in rows]
        if not token:
            return found
        if between is not None:
            await between()


KEYS = ["id", "created_at", "execution_created_at", "execution_name", "phase", "started_at", "duration"]


class TestPages:
    @pytest.mark.heavy
    def test_pages_are_the_whole_list_for_every_sort(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await fill(b, 43)
            for key in KEYS:
                for direction in (common_pb2.Sort.ASCENDING, common_pb2.Sort.DESCENDING):
                    sort = common_pb2.Sort(key=key, direction=direction)
                    whole = await walk(b, sort, 1000)
                    assert len(whole) == 43
                    for limit in (1, 7, 43):
                        assert await walk(b, sort, limit) == whole, (key, direction, limit)

        bench(scenario)

    def test_rows_inserted_meanwhile_repeat_and_skip_none(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await fill(b, 20)
            numbers = iter(range(100, 200))

            async def insert() -> None:
                async with b.context() as ctx:
                    await ctx.db.insert(
                        schema.Execution,
                        execution_project="p",
                        execution_domain="d",
                        execution_name=f"new{next(numbers)}",
                        spec=b"",
                    )

            sort = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)
            found = await walk(b, sort, 3, between=insert)
            old = [name for name in found if name.startswith("e")]
            assert len(found) == len(set(found))
            assert sorted(old) == [f"e{number:03}" for number in range(20)]

        bench(scenario)

    def test_a_token_of_digits_is_an_offset(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await fill(b, 10)
            async with b.context() as ctx:
                rows, _ = await lists.page(
                    ctx, EXECUTIONS, rpc="X", where={"execution_project": "p"}, limit=3, token="4"
                )
            assert [row.execution_name for row in rows] == ["e004", "e005", "e006"]

        bench(scenario)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_merged_pages_are_the_whole_list_too(self, bench: Scenario, ascending: bool) -> None:
        async def scenario(b: Any) -> None:
            await fill(b, 43)
            expected = [f"e{n:03}" for n in range(43) if n % 4 and n % 3 < 2]
            expected = expected if ascending else expected[::-1]

            async def page(limit: int, token: str = "") -> tuple[list[str], str]:
                async with b.context() as ctx:
                    rows, following = await lists.page(
                        ctx,
                        MERGED,
                        rpc="ListExecutions",
                        where={"execution_project": "p", "state": 0},
                        filters="value_in(phase,A;B;A;nothing)",
                        sort_by=common_pb2.Sort(
                            key="created_at",
                            direction=common_pb2.Sort.ASCENDING if ascending else common_pb2.Sort.DESCENDING,
                        ),
                        limit=limit,
                        token=token,
                    )
                return [row.execution_name for row in rows], following

            for limit in (1, 4, len(expected), 100):
                found, token = await page(limit)
                while token:
                    more, token = await page(limit, token)
                    found += more
                assert found == expected, limit
            for offset in (0, 5, len(expected), 2**63 - 1):
                found, _ = await page(4, str(offset))
                assert found == expected[offset : offset + 4], offset

        bench(scenario)

    def test_merged_pages_repeat_few_values(self, bench: Scenario) -> None:
        """A thousand values are allowed; repeated for 64 others they would be more than SQLite takes by default."""
        ids = ";".join(map(str, range(64)))
        many, few = ";".join(f"e{number:03}" for number in range(900)), "e001;e002;e003"
        request = common_pb2.ResourceListRequest(limit=10)
        request.id.project, request.id.domain = "p", "d"

        async def scenario(b: Any) -> None:
            for names, merged in ((many, False), (few, True)):
                request.filters = f"value_in(workflow_id,{ids})+value_in(execution_name,{names})"
                with plans.recorded() as ran:
                    await b.call(list_executions, request)
                ((statement, values),) = ran
                compiled = statement.compiled(SQLITE)
                assert ("UNION ALL" in compiled.sql) == merged
                assert len(compiled.parameters(values)) < 1000

        bench(scenario)

    def test_like_is_case_sensitive_on_both(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await fill(b, 3)
            for text, count in (("contains(execution_name,E00)", 0), ("contains(execution_name,e00)", 3)):
                async with b.context() as ctx:
                    rows, _ = await lists.page(
                        ctx, EXECUTIONS, rpc="X", where={"execution_project": "p"}, filters=text, limit=10, token=""
                    )
                assert len(rows) == count

        bench(scenario)
