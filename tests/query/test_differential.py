"""Random requests for lists of executions: both databases answer them as a walk through all rows in Python does."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flyteidl.admin import common_pb2

from app.database import schema
from app.query import filters as grammar
from app.query import lists, narrowing
from app.query.filters import Filter
from app.services.executions import list_executions
from app.services.executions.reads import LISTING
from app.settings.limits import Limits

Scenario = Callable[..., Any]
Row = dict[str, Any]

REQUESTS = 200
# More than there are.
ROWS_MAX = 1000
SORTS = ("id", "execution_name", "phase", "duration", "user", "mode", "workflow_id", "started_at", "updated_at", "spec")
PHASES = ("RUNNING", "SUCCEEDED", "FAILED", "ABORTED")
NAMES = ("wf.a", "wf.b", "wf_b", "Wf", "%", "é", "rare")
MODELS = {
    "execution": schema.Execution,
    "workflow": schema.Workflow,
    "launch_plan": schema.LaunchPlan,
    "execution_tag": schema.ExecutionTag,
}
FILTERED = {
    "execution": (
        *("execution_name", "phase", "duration", "user", "mode", "workflow_id", "launch_plan_id"),
        *("state", "created_at", "started_at"),
    ),
    "workflow": ("name", "version", "project"),
    "launch_plan": ("name", "version", "state"),
    "execution_tag": ("key", "value"),
}
HOLDS: dict[str, Callable[[Any, tuple[Any, ...]], bool]] = {
    "eq": lambda own, values: own == values[0],
    "ne": lambda own, values: own != values[0],
    "gt": lambda own, values: own > values[0],
    "gte": lambda own, values: own >= values[0],
    "lt": lambda own, values: own < values[0],
    "lte": lambda own, values: own <= values[0],
    "value_in": lambda own, values: own in values,
    "value_not_in": lambda own, values: own not in values,
    "contains": lambda own, values: like(own, f"%{values[0]}%"),
    "not_like": lambda own, values: not like(own, values[0]),
}


def like(text: str, pattern: str) -> bool:
    """Return the result of LIKE."""
    parts = ({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


class Data:
    """Rows with many equal values and NULLs. draw: where all chance comes from."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.rows: dict[str, list[Row]] = {
            "workflow": [{**self._version(i), "remote_closure_identifier": ""} for i in range(40)],
            "launch_plan": [{**self._version(i), "spec": b"", "closure": b"", "state": i % 2} for i in range(40)],
        }
        self.rows["execution"] = [self._execution(number) for number in draw.sample(range(1000), 400)]
        self.rows["execution_tag"] = [self._tag(number) for number in range(300)]

    def _time(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.draw.randrange(30))

    def _maybe(self, *values: Any) -> Any:
        return None if self.draw.random() < 0.2 else self.draw.choice(values)

    def _base(self, id: int) -> Row:
        return {"id": id + 1, "created_at": self._time(), "updated_at": self._time()}

    def _version(self, number: int) -> Row:
        name = self.draw.choice(NAMES[: 6 + (number == 7)])
        return {**self._base(number), "project": f"p{number % 2}", "domain": "d", "name": name, "version": f"v{number}"}

    def _execution(self, number: int) -> Row:
        draw = self.draw
        return {
            **self._base(number),
            "execution_project": draw.choice("pppq"),
            "execution_domain": "d",
            "execution_name": f"e{number}",
            "workflow_id": self._maybe(1, 2, 3, *range(41)),
            "launch_plan_id": self._maybe(1, 2, 3, *range(41)),
            "phase": self._maybe(*PHASES),
            "duration": self._maybe(0, *range(1, 10**10, 10**9)),
            "user": self._maybe("ann", "bob", "Ann", ""),
            "mode": self._maybe(0, 1, 2),
            "state": draw.choice((0, 0, 0, 1)),
            "started_at": self._maybe(self._time()),
            "spec": draw.choice((b"", b"\x12\x00")),
        }

    def _tag(self, number: int) -> Row:
        execution = self.draw.choice(self.rows["execution"])
        key = {part: execution[part] for part in ("execution_project", "execution_domain", "execution_name")}
        return {**self._base(number), **key, "key": self.draw.choice("abc"), "value": str(number)}

    def joined(self, row: Row, entity: str) -> list[Row]:
        """The rows of an entity that belong to an execution; of its own, itself."""
        if entity == "execution":
            return [row]
        if entity == "execution_tag":
            return [tag for tag in self.rows[entity] if tag["execution_name"] == row["execution_name"]]
        return [other for other in self.rows[entity] if other["id"] == row[f"{entity}_id"]]

    def answer(self, filters: tuple[Filter, ...], sort: common_pb2.Sort) -> list[str]:
        """The names of all executions of project p that pass, in order."""
        groups = [[one for one in filters if one.entity == entity] for entity in {one.entity for one in filters}]
        found = [
            row
            for row in self.rows["execution"]
            if row["execution_project"] == "p"
            and all(any(passes(other, group) for other in self.joined(row, group[0].entity)) for group in groups)
        ]

        def place(row: Row) -> tuple[Any, ...]:
            value = row[sort.key]
            return (True, row["id"]) if value is None else (False, value, row["id"])

        ordered = sorted(found, key=place, reverse=sort.direction == common_pb2.Sort.DESCENDING)
        return [row["execution_name"] for row in ordered]

    def filter(self) -> str:
        """One filter, of values that rows have."""
        draw = self.draw
        entity = draw.choice(("execution", "execution", *FILTERED))
        field = draw.choice(FILTERED[entity])
        values = [row[field] for row in draw.choices(self.rows[entity], k=draw.choice((1, 1, 2, 3, 7, 8, 9, 30)))]
        texts = [self._text(field, value) for value in values if value not in (None, "")] or ["1"]
        if field in ("created_at", "started_at") and texts == ["1"]:
            texts = ["2024-01-01"]
        functions = list(HOLDS) if isinstance(values[0], str) else list(HOLDS)[:-2]
        function = draw.choice(("value_in", *functions))
        if not function.startswith("value"):
            texts = texts[:1]
        return f"{function}({entity}.{field},{';'.join(texts)})"

    def _text(self, field: str, value: Any) -> str:
        if field == "duration":
            return f"{value}ns"
        return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def passes(row: Row, filters: list[Filter]) -> bool:
    """Whether a row passes all of them; NULL passes none."""
    return all(row[one.field] is not None and HOLDS[one.function](row[one.field], one.values) for one in filters)


async def listed(b: Any, request: common_pb2.ResourceListRequest) -> list[str]:
    """The names on the pages from a request on: all that follow one by a token, or the page of an offset."""
    found: list[str] = []
    offset = bool(request.token)
    while True:
        page = await b.call(list_executions, request)
        found += [one.id.name for one in page.executions]
        if offset or not page.token:
            return found
        assert page.token != request.token, "a token must lead on"
        assert len(found) < ROWS_MAX, "pages without end"
        request.token = page.token


@pytest.mark.slow
def test_lists_equal_the_same_filters_in_python(bench: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that few rows are enough for every way to them.
    monkeypatch.setattr(narrowing, "MERGED_PAGES_MAX", 8)
    monkeypatch.setattr(narrowing, "GATHERED_ROWS_MAX", 60)
    draw = random.Random(1)
    data = Data(draw)

    async def scenario(b: Any) -> None:
        async with b.context() as ctx:
            for entity, rows in data.rows.items():
                for row in rows:
                    await ctx.db.insert(MODELS[entity], **row)
        rows_found = 0
        for _ in range(REQUESTS):
            request = common_pb2.ResourceListRequest(filters="+".join(data.filter() for _ in range(draw.randrange(4))))
            request.id.project, request.id.domain = "p", "d"
            request.sort_by.key = draw.choice(("created_at", draw.choice(SORTS)))
            request.sort_by.direction = draw.choice((common_pb2.Sort.ASCENDING, common_pb2.Sort.DESCENDING))
            parsed = lists.parse_filters(LISTING, request.filters, Limits())
            if not any((one.entity, one.field) == ("execution", "state") for one in parsed):
                parsed = (*parsed, grammar.Filter("eq", "execution", "state", (0,)))
            wanted = data.answer(parsed, request.sort_by)
            request.limit = draw.choice((1 + len(wanted) // 3, 1 + len(wanted) // 8, 1000))
            told = str(request)
            assert await listed(b, request) == wanted, told
            offset = draw.randrange(len(wanted) + 2)
            request.token = str(offset)
            assert await listed(b, request) == wanted[offset : offset + request.limit], (told, offset)
            rows_found += len(wanted)
        assert rows_found > REQUESTS

    bench(scenario)
