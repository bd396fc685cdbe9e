"""Every list and get that clients send, on tables of more than 10,000 rows: which plans the databases make of them.

The rows are those of benchmarks/load.py, the requests those of benchmarks/cases.py. The requests go through the
application in this process; each statement that it runs is explained with the values that it ran with.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.main import create_app
from app.query import narrowing
from app.settings import Settings
from benchmarks import load, plans
from benchmarks.cases import cases
from tests.conftest import DATABASES
from tests.support.clusters import Postgres

SIZE = load.Size(executions=11_000, versions=10_250)
# Tables that hold as many rows as there are projects, or as there are archived names.
SMALL = {"projects", "resources", "named_entity_metadata"}
# Rows that a page may read: those gathered or counted first, both for two joins, and the page.
ROWS_READ_MAX = 4 * narrowing.GATHERED_ROWS_MAX
# SQLite's machine takes two to ten instructions for a row, five where it walks an index.
STEPS_MAX = 6 * ROWS_READ_MAX
# All rows match, so a scan is cheapest; it ends after as many as may be gathered.
MAY_SCAN = {"executions of a frequent label": {"execution_tags"}}
ROWS_SORTED_MAX = narrowing.GATHERED_ROWS_MAX


@dataclass
class Filled:
    """A loaded database and the folder of its objects."""

    kind: str
    url: str
    home: Path

    def connect(self) -> Any:
        if self.kind == "postgresql":
            return psycopg.connect(self.url, autocommit=True, options="-c timezone=UTC")
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("PRAGMA case_sensitive_like=ON")
        return connection


@pytest.fixture(scope="module", params=DATABASES)
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_database: Callable[[str], str]
) -> Filled:
    """A database of 11,000 executions, 65,000 nodes and 10,250 versions of each kind."""
    home = tmp_path_factory.mktemp("filled")
    url = empty_database(request.param)
    load.load(url, home, SIZE)
    return Filled(request.param, url, home)


def explained(filled: Filled, paths: dict[str, str]) -> dict[str, list[plans.Plan]]:
    """The plans of all statements of these requests."""
    settings = Settings(
        home=filled.home,
        database={"url": filled.url},  # type: ignore[arg-type]
        storage={"url": str(filled.home / "objects")},  # type: ignore[arg-type]
        engine={"kind": "none"},  # type: ignore[arg-type]
        # Its statements, which the recording would take too, lock rows.
        scheduler={"enabled": False},  # type: ignore[arg-type]
    )
    explain = plans.of_postgres if filled.kind == "postgresql" else plans.of_sqlite

    async def main() -> dict[str, list[plans.Plan]]:
        app = create_app(settings)
        found = {}
        connection = filled.connect()
        async with (
            app.running(),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app),
                base_url="http://localhost/api/v1",
                headers={"Accept": "application/json"},
            ) as client,
        ):
            for name, path in paths.items():
                with plans.recorded() as statements:
                    answer = await client.get(path)
                # Attributes that nobody has set are not there.
                assert answer.status_code == 200 or "attributes" in path, f"{name}: {answer.text}"
                assert statements, f"{name}: nothing was read"
                found[name] = [explain(connection, one, values) for one, values in statements]
        connection.close()
        return found

    return asyncio.run(main())


def problems(filled: Filled, name: str, flat: bool, made: list[plans.Plan]) -> list[str]:
    """Return what is wrong with the plans of one request."""
    found = []
    for plan in made:
        allowed = SMALL | MAY_SCAN.get(name, set())
        scanned = {table: rows for table, rows in plan.scanned.items() if table not in allowed}
        if scanned and flat:
            found.append(f"{name} scans {scanned}:\n{plan.sql}\n{plan.text}")
        if flat and plan.sorted > ROWS_SORTED_MAX:
            found.append(f"{name} sorts {plan.sorted} rows:\n{plan.sql}\n{plan.text}")
    read, most = sum(plan.read for plan in made), ROWS_READ_MAX if filled.kind == "postgresql" else STEPS_MAX
    if flat and read > most:
        found.append(f"{name} reads {read}, more than {most}:\n" + "\n".join(f"{p.sql}\n{p.text}" for p in made))
    return found


@pytest.mark.slow
def test_no_list_and_no_get_reads_more_than_it_needs(filled: Filled) -> None:
    every = cases(SIZE)
    made = explained(filled, {case.name: case.path for case in every})
    found = [problem for case in every for problem in problems(filled, case.name, case.flat, made[case.name])]
    assert not found, "\n\n".join(found)


# A list, the statements that take its index away, what is found then.
BROKEN = {
    "executions longer than any": ({kind: ["DROP INDEX executions_by_duration"] for kind in DATABASES}, " reads "),
    "executions changed, none": ({kind: ["DROP INDEX executions_by_update"] for kind in DATABASES}, " reads "),
    "workflow ids": (
        {
            "postgresql": ["ALTER TABLE registered_names DROP CONSTRAINT registered_names_pkey"],
            # There the table is its key. Triggers name it, and would not have it renamed.
            "sqlite": [
                "PRAGMA legacy_alter_table=ON",
                "CREATE TABLE keyless AS SELECT * FROM registered_names",
                "DROP TABLE registered_names",
                "ALTER TABLE keyless RENAME TO registered_names",
            ],
        },
        " scans ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_missing_index_fails_the_test_of_plans(
    filled: Filled, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """On a copy, so that the others keep the index and its statistics."""
    if filled.kind == "postgresql":
        cluster: Postgres = request.getfixturevalue("postgres")
        copied = replace(filled, url=cluster.create(template=filled.url.partition("@/")[2].partition("?")[0]))
    else:
        shutil.copy(filled.url.removeprefix("sqlite:///"), tmp_path / "copy.db")
        copied = replace(filled, url=f"sqlite:///{tmp_path / 'copy.db'}")
    (case,) = (case for case in cases(SIZE) if case.name == name)
    breaking, found = BROKEN[name]
    connection = copied.connect()
    try:
        before = explained(copied, {case.name: case.path})[case.name]
        for statement in breaking[filled.kind]:
            connection.execute(statement)
        after = explained(copied, {case.name: case.path})[case.name]
    finally:
        connection.close()
    assert not problems(copied, case.name, case.flat, before)
    assert any(found in problem for problem in problems(copied, case.name, case.flat, after))
