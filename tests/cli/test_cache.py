"""The command `flyteadmin cache`: lists, pages, what is deleted and what stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import main as cli
from app.database.catalog_tables import CatalogArtifact, CatalogTag
from app.database.connect import database_at
from app.services.catalog import CacheKey
from tests.conftest import DATABASES

pytestmark = pytest.mark.heavy

Command = Callable[..., Result]

NOW = datetime.now(UTC)
SIGNATURE = "-aaaa-aaa-bbbb-bbb"


def entry(
    task: str, version: str, number: int, *, project: str = "p", domain: str = "d", days: int = 0
) -> dict[str, Any]:
    key = CacheKey(project, domain, f"flyte_task-{task}", version + SIGNATURE, f"flyte_cached-{number}")
    return {
        **key._asdict(),
        "artifact_id": f"a{number}",
        "output_uri": "/outputs.pb",
        "digest": b"",
        "task_version": "v1",
        "execution_project": project,
        "execution_domain": domain,
        "execution_name": f"e{number}",
        "node_id": "n0",
        "retry_attempt": 1,
        "updated_at": NOW - timedelta(days=days),
    }


ENTRIES = [
    entry("wf.a", "1-1", 0),
    entry("wf.a", "1", 1, days=40),
    entry("wf.a", "1", 2),
    entry("wf.a", "2", 3, days=40),
    entry("wf.b", "1", 4, days=2),
    entry("wf.b", "1", 5, domain="e"),
    entry("wf.a", "1", 6, project="q"),
]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, emptied_database: Callable[[str], str]) -> str:
    """A database with the entries, put there in another order."""
    url = emptied_database(request.param)

    async def fill() -> None:
        database = database_at(url, connections_max=1, busy_timeout_seconds=5, statement_timeout_seconds=5)
        await database.open()
        async with database.unit_of_work() as unit:
            for values in ENTRIES[::-1]:
                artifact = {name: value for name, value in values.items() if name != "tag"}
                tag = {name: values[name] for name in (*CacheKey._fields, "artifact_id")}
                await unit.insert(CatalogArtifact, **artifact)
                await unit.insert(CatalogTag, **tag)
        await database.close()

    asyncio.run(fill())
    return url


@pytest.fixture
def command(url: str, tmp_path: Path) -> Command:
    def call(*arguments: str, answer: str = "") -> Result:
        variables = {"FLYTEADMIN_HOME": str(tmp_path), "FLYTEADMIN_DATABASE_URL": url}
        return CliRunner().invoke(cli.app, ["cache", *arguments], env=variables, input=answer)

    return call


def listed(result: Result) -> list[int]:
    """The numbers of the entries that were listed as JSON."""
    assert result.exit_code == 0, result.stderr
    return [int(entry["tag"].removeprefix("flyte_cached-")) for entry in json.loads(result.stdout)]


def left(command: Command) -> list[int]:
    return listed(command("list", "-o", "json"))


FILTERS = [
    ((), [0, 1, 2, 3, 4, 5, 6]),
    (("--project", "p"), [0, 1, 2, 3, 4, 5]),
    (("--domain", "e"), [5]),
    (("--task", "wf.a"), [0, 1, 2, 3, 6]),
    (("--task", "wf"), []),
    (("--cache-version", "1"), [1, 2, 4, 5, 6]),
    (("--cache-version", "1-1"), [0]),
    (("--older-than", "24h"), [1, 3, 4]),
    (("--project", "p", "--task", "wf.a", "--cache-version", "1", "--older-than", "720h"), [1]),
]


@pytest.mark.parametrize(("options", "expected"), FILTERS)
def test_options_choose_what_is_listed_and_deleted(
    command: Command, options: tuple[str, ...], expected: list[int]
) -> None:
    assert listed(command("list", "-o", "json", *options)) == expected
    if options:
        deleted = command("delete", *options)
        assert deleted.stdout.startswith(f"deleted {len(expected)} entries; the outputs")
        assert left(command) == [number for number in range(len(ENTRIES)) if number not in expected]


def test_a_list_is_a_table(command: Command) -> None:
    lines = command("list", "--task", "wf.b").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["PROJECT", "DOMAIN", "TASK", "VERSION", "UPDATED", "PRODUCED", "BY", "TAG"],
        ["p", "d", "wf.b", "1", *_shown(ENTRIES[4]), "e4/n0/1", "flyte_cached-4"],
        ["p", "e", "wf.b", "1", *_shown(ENTRIES[5]), "e5/n0/1", "flyte_cached-5"],
    ]


def _shown(values: dict[str, Any]) -> list[str]:
    return str(values["updated_at"].isoformat(" ", "seconds")).split()


def test_a_list_ends_somewhere_and_goes_on_there(command: Command) -> None:
    seen, more = [], ()
    for _ in range(len(ENTRIES)):
        page = command("list", "-o", "json", "--limit", "3", *more)
        seen.append(listed(page))
        if not page.stderr:
            break
        more = tuple(page.stderr.split(": ")[1].split())
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


def test_nothing_to_list(command: Command) -> None:
    result = command("list", "--task", "wf.c")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no entry matches these options\n")


def test_deleting_everything_asks_first(command: Command) -> None:
    refused = command("delete", "--all", answer="n\n")
    assert refused.exit_code == 1
    assert "Delete all 7 entries of " in refused.stdout
    assert len(left(command)) == 7
    assert command("delete", "--all").exit_code == 1, "nobody is there to answer"
    assert len(left(command)) == 7
    assert "deleted 7 entries" in command("delete", "--all", answer="y\n").stdout
    assert left(command) == []


def test_who_does_not_want_to_be_asked_says_so(command: Command) -> None:
    assert command("delete", "--all", "--yes").stdout.startswith("deleted 7 entries")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("delete",), "which entries?"),
        (("delete", "--all", "--task", "wf.a"), "which entries?"),
        (("delete", "--older-than", "30d"), "--older-than=30d is no age"),
        (("delete", "--older-than", "-1h"), "--older-than=-1h is no age"),
        (("list", "--after", "x"), "--after=x is no token of `flyteadmin cache list`"),
        (("list", "--after", "WzEsMl0"), "--after=WzEsMl0 is no token of `flyteadmin cache list`"),
    ],
)
def test_what_is_not_understood_is_one_line(command: Command, arguments: tuple[str, ...], told: str) -> None:
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"flyteadmin: {told}")
    assert len(result.stderr.splitlines()) == 1
    assert len(left(command)) == 7


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["cache", "list"], env={"FLYTEADMIN_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert "run flyteadmin migrate run first" in result.stderr
    assert list(tmp_path.iterdir()) == []
