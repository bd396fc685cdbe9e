"""Filtered pages equal the same filters in Python, whichever strategy finds the rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flyteidl.admin import common_pb2

from app.database import schema
from app.query import lists, narrowing
from app.query.filters import Filter
from app.query.listing import Listing
from app.services import launch_plans
from app.services.executions import reads
from app.settings.limits import Limits

Bench = Callable[..., Any]
Row = dict[str, Any]
START = datetime(2024, 1, 1, tzinfo=UTC)
# With these limits a few rows are enough for every strategy.
BRANCHES_MAX, GATHERED_ROWS_MAX = 4, 8
# How many versions a name has; of the last there are hardly any executions.
VERSIONS = {"one": 1, "few": 3, "many": 6, "rare": 5}
EXECUTIONS = 60

EXECUTION_FILTERS = [
    "",
    "value_in(phase,RUNNING;FAILED)",
    "value_in(phase,RUNNING;FAILED;RUNNING)",
    "value_in(phase,RUNNING;FAILED)+value_in(user,u1;u2)",
    "value_in(phase,RUNNING;FAILED)+value_in(phase,FAILED;ABORTED)",
    "ne(phase,SUCCEEDED)",
    "value_in(mode,0;1;3)",
    "value_in(mode,-1;0;1)",
    "ne(mode,0)",
    "eq(user,u1)",
    "eq(workflow.name,one)",
    "eq(workflow.name,few)",
    "eq(workflow.name,few)+eq(workflow.version,v1)",
    "eq(workflow.name,few)+value_in(phase,RUNNING;FAILED)",
    "eq(workflow.name,few)+eq(launch_plan.name,few)",
    "eq(workflow.name,few)+eq(launch_plan.name,many)",
    "eq(workflow.name,many)",
    "eq(workflow.name,many)+eq(phase,RUNNING)",
    "eq(workflow.name,many)+value_in(phase,RUNNING;FAILED;ABORTED)",
    "eq(workflow.name,many)+eq(launch_plan.name,many)",
    "eq(workflow.name,many)+eq(user,u1)+gte(duration,3)",
    "ne(workflow.name,few)",
    "ne(launch_plan.name,one)+ne(workflow.name,many)+ne(workflow.version,v0)",
    "eq(workflow.name,rare)",
    "eq(workflow.name,rare)+eq(state,1)",
    "eq(workflow.name,rare)+eq(launch_plan.name,many)",
    "eq(workflow.name,rare)+ne(workflow.version,v0)+gte(duration,1)",
    "eq(launch_plan.name,rare)",
    "eq(launch_plan.name,rare)+ne(phase,SUCCEEDED)",
    "eq(workflow.name,nowhere)",
    "gte(duration,5)",
    "gte(duration,1)",
    "gte(duration,2)+lt(duration,4)+ne(duration,3)",
    "gte(duration,5)+value_in(phase,RUNNING;FAILED)",
    "eq(state,1)+gte(duration,1)",
    "eq(state,1)+gte(duration,4)",
    "eq(state,1)+value_in(phase,RUNNING;FAILED)",
]
LAUNCH_PLAN_FILTERS = [
    "eq(state,1)",
    "ne(schedule_type,NONE)",
    "eq(workflow.name,few)",
    "eq(workflow.name,few)+eq(state,1)",
    "eq(workflow.name,many)",
    "eq(workflow.name,many)+eq(state,1)",
    "eq(workflow.name,many)+ne(schedule_type,NONE)",
    "value_in(workflow.version,v0;v1)",
]
SORTS = [("created_at", False), ("created_at", True), ("duration", False), ("user", True)]


@dataclass
class World:
    """Rows of the database: those of two lists, and those that they refer to, by entity and id."""

    executions: list[Row]
    launch_plans: list[Row]
    joined: dict[str, dict[int, Row]]


async def filled(b: Any) -> World:
    """Versions and executions that have little in common with one another, with ties and NULLs."""
    chance = random.Random(7)
    world = World([], [], {"workflow": {}, "launch_plan": {}})

    async def insert(ctx: Any, model: type[schema.Base], **row: Any) -> Row:
        return {**row, "id": await ctx.db.insert(model, **row)}

    async with b.context() as ctx:
        for name, count in VERSIONS.items():
            for number in range(count):
                key = {"project": "p", "domain": "d", "name": name, "version": f"v{number}"}
                row = await insert(ctx, schema.Workflow, **key, remote_closure_identifier="")
                world.joined["workflow"][row["id"]] = row
        for number, workflow in enumerate([*world.joined["workflow"].values()] * 2):
            key = {**{part: workflow[part] for part in ("project", "domain", "name")}, "version": f"v{number}"}
            more = {
                "workflow_id": workflow["id"],
                "state": number % 2,
                "schedule_type": ("NONE", "CRON")[number % 3 == 0],
            }
            when = {"created_at": START + timedelta(seconds=number // 3)}
            row = await insert(ctx, schema.LaunchPlan, **key, **more, **when, spec=b"", closure=b"")
            world.joined["launch_plan"][row["id"]] = row
            world.launch_plans.append(row)

        def any_of(entity: str) -> int:
            rows = world.joined[entity]
            return chance.choices(list(rows), [0.2 if row["name"] == "rare" else 1 for row in rows.values()])[0]

        for number in range(EXECUTIONS):
            row = await insert(
                ctx,
                schema.Execution,
                # Those of the last project are in no list.
                execution_project="p" if number % 10 else "q",
                execution_domain="d",
                execution_name=f"e{number:02}",
                spec=b"",
                workflow_id=any_of("workflow"),
                launch_plan_id=any_of("launch_plan") if number % 7 else 0,
                phase=chance.choice(["RUNNING", "FAILED", "ABORTED", "SUCCEEDED", "SUCCEEDED"]),
                mode=chance.choice([0, 1, 3, -1]),
                user=chance.choice(["u1", "u2", "u3", None]),
                duration=chance.choice([None, *(seconds * 10**9 for seconds in range(6))]),
                state=int(chance.random() < 0.3),
                created_at=START + timedelta(seconds=number // 4),
            )
            world.executions.append(row)
    return world


def passes(world: World, row: Row, one: Filter, own: str) -> bool:
    """Whether a row of a list passes a filter; NULL passes none."""
    if one.entity != own:
        row = world.joined[one.entity].get(row[f"{one.entity}_id"], {})
    value = row.get(one.field)
    if value is None:
        return False
    first = one.values[0]
    return {
        "eq": lambda: value == first,
        "ne": lambda: value != first,
        "gte": lambda: value >= first,
        "lt": lambda: value < first,
        "value_in": lambda: value in one.values,
    }[one.function]()


def expected(world: World, listing: Listing, rows: list[Row], text: str, sort: tuple[str, bool]) -> list[int]:
    """The ids of the whole list, in order: NULLs last where it ascends."""
    key, ascending = sort
    found = [row for row in rows if row.get("execution_project", "p") == "p"]
    for one in lists.parse_filters(listing, text, Limits()):
        found = [row for row in found if passes(world, row, one, listing.entity)]
    found.sort(
        key=lambda row: (row[key] is None, 0 if row[key] is None else row[key], row["id"]), reverse=not ascending
    )
    return [row["id"] for row in found]


async def page(
    b: Any, listing: Listing, text: str, sort: tuple[str, bool], limit: int, token: str
) -> tuple[list[int], str]:
    project = "execution_project" if listing is reads.LISTING else "project"
    direction = common_pb2.Sort.ASCENDING if sort[1] else common_pb2.Sort.DESCENDING
    async with b.context() as ctx:
        rows, token = await lists.page(
            ctx,
            listing,
            rpc="X",
            where={project: "p", project.replace("project", "domain"): "d"},
            filters=text,
            sort_by=common_pb2.Sort(key=sort[0], direction=direction),
            limit=limit,
            token=token,
            columns=(),
        )
    return [row.id for row in rows], token


async def walk(b: Any, listing: Listing, text: str, sort: tuple[str, bool], limit: int) -> list[int]:
    """All pages, one behind the other."""
    found, token = await page(b, listing, text, sort, limit, "")
    while token:
        rows, token = await page(b, listing, text, sort, limit, token)
        found += rows
    return found


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> set[tuple[bool, str | None]]:
    """The strategies that were chosen: whether pages were merged, and what was gathered."""
    taken: set[tuple[bool, str | None]] = set()
    narrow = narrowing.narrow

    async def noted(*arguments: Any) -> Any:
        narrowed = await narrow(*arguments)
        if narrowed is not None:
            taken.add((narrowed.strategy.merge is not None, narrowed.strategy.gather))
        return narrowed

    monkeypatch.setattr(narrowing, "narrow", noted)
    monkeypatch.setattr(narrowing, "MERGED_PAGES_MAX", BRANCHES_MAX)
    monkeypatch.setattr(narrowing, "GATHERED_ROWS_MAX", GATHERED_ROWS_MAX)
    return taken


@pytest.mark.slow
def test_every_strategy_finds_the_same_rows(bench: Bench, ways: set[tuple[bool, str | None]]) -> None:
    async def scenario(b: Any) -> None:
        world = await filled(b)
        for listing, rows, filters in (
            (reads.LISTING, world.executions, EXECUTION_FILTERS),
            (launch_plans.LISTING, world.launch_plans, LAUNCH_PLAN_FILTERS),
        ):
            for text in filters:
                for sort in SORTS:
                    if sort[0] not in schema.table(listing.model).c:
                        continue
                    whole = expected(world, listing, rows, text, sort)
                    assert await walk(b, listing, text, sort, 4) == whole, (text, sort)
                    found, _ = await page(b, listing, text, sort, 4, "3")
                    assert found == whole[3:7], (text, sort)
        assert ways == {(True, None), (False, None)} | {
            (False, each) for each in ("workflow", "launch_plan", "duration")
        }

    bench(scenario)
