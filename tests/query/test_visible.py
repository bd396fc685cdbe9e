"""Narrowing of lists to visible places: the SQL of both databases selects the rows that the permissions allow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app import errors
from app.auth.caller_access import Access
from app.auth.object_places import ObjectPlaces
from app.auth.roles import CallerRole, Need, Permissions, Role
from app.database import schema
from app.database.statements import Statement
from app.query import lists, pages, visible

pytestmark = pytest.mark.heavy

NAMES = ("a", "ab", "abc", "a-b", "A", "AB", "a%", "a%b", "a_", "a_b", "axb", "b", "a\\b", "ä", "äb")
PATTERNS = ("*", "a*", "ab*", "a", "A*", "a%*", "a_*", "a\\*", "a%", "b", "ä*", "x*", "nothing")
TABLE = schema.table(schema.Workflow)
LISTING = lists.Listing(schema.Workflow, "workflow", default_sort=pages.Sort("name", True))
PROJECTS = lists.Listing(
    schema.Project, "project", default_sort=pages.Sort("identifier", True), place=("identifier", None)
)


def access_of(grants: list[CallerRole], b: Any) -> Access:
    return Access(Permissions(grants), None, ObjectPlaces(b.settings, b.blobs))


def drawn(seed: int) -> list[CallerRole]:
    draw = random.Random(seed)
    count = draw.choice((0, 1, 1, 2, 3, 8, 20))
    return [CallerRole(draw.choice(list(Role)), draw.choice(PATTERNS), draw.choice(PATTERNS)) for _ in range(count)]


async def insert(b: Any) -> None:
    async with b.context() as ctx:
        for project, domain in itertools.product(NAMES, NAMES):
            key = {"project": project, "domain": domain, "name": f"{project}.{domain}", "version": "v"}
            await ctx.db.insert(schema.Workflow, **key, remote_closure_identifier="")
        for project in NAMES:
            await ctx.db.insert(schema.Project, identifier=project, name=project, state=0)


def test_the_rows_are_those_that_the_permissions_allow(bench: Callable[..., Any]) -> None:
    async def scenario(b: Any) -> int:
        await insert(b)
        narrowed = 0
        async with b.context() as ctx:
            for seed in range(150):
                access = access_of(drawn(seed), b)
                seen = visible.of(access, with_domain=True)
                allowed = {(p, d) for p, d in itertools.product(NAMES, NAMES) if access.allows(Need(Role.VIEW, p, d))}
                if seen is None:
                    assert len(allowed) == len(NAMES) ** 2
                    continue
                narrowed += 1
                condition = visible.condition(seen.shape, TABLE.c.project, TABLE.c.domain)
                rows = await ctx.db.all(
                    Statement(select(TABLE.c.project, TABLE.c.domain).where(condition)), **seen.values
                )
                assert {(row.project, row.domain) for row in rows} == allowed, seed
                assert len(rows) == len(allowed)
        return narrowed

    assert bench(scenario) > 100


def test_pages_have_the_visible_projects_once_each_in_order(bench: Callable[..., Any]) -> None:
    async def scenario(b: Any) -> None:
        await insert(b)
        async with b.context() as ctx:
            for seed in range(40):
                access = access_of(drawn(seed), b)
                allowed = {one for one in NAMES if access.allows(Need(Role.VIEW, one, None))}
                for limit in (1, 2, 3, 100):
                    found: list[str] = []
                    token = ""
                    while True:
                        rows, token = await lists.page(
                            ctx,
                            PROJECTS,
                            rpc="ListProjects",
                            where={},
                            limit=limit,
                            token=token,
                            visible=visible.of(access, with_domain=False),
                        )
                        assert len(rows) <= limit
                        assert len(rows) == limit or not token
                        found += [row.identifier for row in rows]
                        if not token:
                            break
                    assert len(found) == len(allowed)
                    assert set(found) == allowed

    bench(scenario)


def test_names_are_found_by_the_index(bench: Callable[..., Any]) -> None:
    """A caller with one project among many reads that one by the key, on SQLite as on PostgreSQL."""

    async def scenario(b: Any) -> str:
        async with b.context() as ctx:
            for number in range(2000):
                await ctx.db.insert(schema.Project, identifier=f"p{number:05}", name="n", state=0)
        seen = visible.of(access_of([CallerRole(Role.VIEW, "p00007", "*")], b), with_domain=False)
        assert seen is not None
        assert seen.values == {"v0_n0": "p00007"}
        explain = "EXPLAIN QUERY PLAN" if b.url.startswith("sqlite") else "EXPLAIN"
        where = "identifier IN ('p00007')"
        if b.url.startswith("sqlite"):
            import sqlite3

            with sqlite3.connect(b.url.removeprefix("sqlite:///")) as connection:
                return str(connection.execute(f"{explain} SELECT id FROM projects WHERE {where}").fetchall())
        import psycopg

        with psycopg.connect(b.url) as connection:
            connection.execute("ANALYZE projects")
            return str(connection.execute(f"{explain} SELECT id FROM projects WHERE {where}").fetchall())

    plan = bench(scenario)
    assert "projects_pkey" in plan, plan
    assert "SCAN projects" not in plan, plan


@pytest.mark.parametrize(
    ("projects", "values"),
    [
        (["a", "b", "c"], {"v0_n0": "a", "v0_n1": "b", "v0_n2": "c", "v0_n3": None}),
        (["a*", "ab*", "abc", "b"], {"v0_n0": "b", "v0_s0": "a%"}),
        (["50%_*"], {"v0_s0": "50\\%\\_%"}),
    ],
)
def test_the_parameters(projects: list[str], values: dict[str, str | None], bench: Callable[..., Any]) -> None:
    async def scenario(b: Any) -> Any:
        return visible.of(access_of([CallerRole(Role.VIEW, one, "*") for one in projects], b), with_domain=True)

    assert bench(scenario).values == values


@pytest.mark.slow
def test_too_many_patterns_are_refused_not_run(bench: Callable[..., Any]) -> None:
    async def scenario(b: Any) -> None:
        grants = [CallerRole(Role.VIEW, f"p{number:04}*", "*") for number in range(visible.PATTERNS_MAX)]
        with pytest.raises(errors.ResourceExhausted):
            visible.of(access_of(grants, b), with_domain=True)
        names = [CallerRole(Role.VIEW, f"p{number:04}", "*") for number in range(9_000)]
        seen = visible.of(access_of(names, b), with_domain=False)
        assert seen is not None
        async with b.context() as ctx:
            await ctx.db.insert(schema.Project, identifier="p0042", name="n", state=0)
            rows, _ = await lists.page(ctx, PROJECTS, rpc="", where={}, limit=10, token="", visible=seen)
            assert [row.identifier for row in rows] == ["p0042"]

    bench(scenario)
