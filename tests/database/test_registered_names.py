"""The names that the database keeps beside the versions: whoever writes a version, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import migrations, schema
from app.services import launch_plans, named_entities, registered_names, tasks, workflows
from tests.conftest import DATABASES, Postgres
from tests.support.builders import a_launch_plan, a_name, a_task, a_workflow, refusal, register

pytestmark = pytest.mark.heavy

Bench = Callable[..., Any]
SAMPLE = Path(__file__).parents[1] / "sample" / "dump.sql"
KINDS = {"tasks": 1, "workflows": 2, "launch_plans": 3}
# The columns that a row needs besides its key.
NEEDED = {
    "tasks": {"closure": b""},
    "workflows": {"remote_closure_identifier": ""},
    "launch_plans": {"spec": b"", "closure": b"", "workflow_id": 1},
}
WAIT_SECONDS_MAX = 30


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """A connection of the driver's own; each statement is a transaction."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as lite:
            yield lite
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


def insert(connection: Any, table: str, name: str, version: str = "v1") -> None:
    """A version as any other program would write it."""
    row = {
        "project": "p",
        "domain": "development",
        "name": name,
        "version": version,
        **NEEDED[table.removeprefix("public.")],
    }
    mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
    marks = ", ".join([mark] * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def kept(url: str) -> list[tuple[int, str]]:
    """The names that are kept, with their kinds."""
    with opened(url) as connection:
        query = "SELECT resource_type, name FROM registered_names ORDER BY resource_type, project, domain, name"
        return [tuple(row) for row in connection.execute(query).fetchall()]


def everything(url: str) -> tuple[list[Any], list[Any]]:
    """The names that are kept, and those that have versions."""
    key = "project, domain, name"
    wanted = " UNION ".join(f"SELECT {kind}, {key} FROM {table}" for table, kind in KINDS.items())
    with opened(url) as connection:
        found = connection.execute(f"SELECT resource_type, {key} FROM registered_names").fetchall()
        return sorted(found), sorted(connection.execute(wanted).fetchall())


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, emptied_database: Callable[[str], str]) -> str:
    return emptied_database(request.param)


@pytest.fixture
def before(postgres: Postgres) -> str:
    """A PostgreSQL as it was before names were kept."""
    made = postgres.create()
    migrations.run(made)
    migrations.rollback(made, "0006")
    return made


class TestWhoeverWrites:
    def test_rows_of_other_programs_are_listed(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            with opened(b.url) as connection:
                for table in KINDS:
                    for name, version in (("b", "v1"), ("a", "v1"), ("b", "v2")):
                        insert(connection, table, f"{table}.{name}", version)
            request = common_pb2.NamedEntityIdentifierListRequest(project="p", domain="development", limit=10)
            for table, function in (
                ("tasks", tasks.list_task_ids),
                ("workflows", workflows.list_workflow_ids),
                ("launch_plans", launch_plans.list_launch_plan_ids),
            ):
                found = await b.call(function, request)
                assert [one.name for one in found.entities] == [f"{table}.a", f"{table}.b"]
                listing = common_pb2.NamedEntityListRequest(
                    resource_type=KINDS[table], project="p", domain="development", limit=10
                )
                entities = (await b.call(named_entities.list_named_entities, listing)).entities
                assert [one.id.name for one in entities] == [f"{table}.a", f"{table}.b"]

        bench(scenario)

    def test_a_name_belongs_to_its_kind(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            with opened(b.url) as connection:
                insert(connection, "workflows", "wf")
            async with b.context() as ctx:
                found = {
                    kind: await registered_names.is_registered(ctx, kind, a_name("wf"))
                    for kind in registered_names.MODELS
                }
            assert found == {kind: kind == identifier_pb2.WORKFLOW for kind in registered_names.MODELS}

        bench(scenario)

    def test_services_register_names(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            await b.call(workflows.create_workflow, a_workflow())
            await b.call(launch_plans.create_launch_plan, a_launch_plan())
            assert kept(b.url) == [(1, "inc"), (2, "wf"), (3, "lp")]

        bench(scenario)


class TestTransactions:
    def test_many_registrations_of_one_new_name(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            versions = [a_task("new", f"v{number}") for number in range(8)]
            await asyncio.gather(*(b.call(tasks.create_task, one) for one in versions))
            assert kept(b.url) == [(1, "inc"), (1, "new")]

        bench(scenario)

    def test_a_refused_registration_leaves_no_name(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            with opened(b.url) as connection:
                # As if the name had been lost: a refused registration must not bring it back.
                connection.execute("DELETE FROM registered_names")
            await refusal(b, tasks.create_task, a_task(), errors.AlreadyExists)
            await refusal(b, tasks.create_task, a_task(args=("other",)), errors.InvalidArgument)
            async with b.context() as ctx:
                # As of two that register the same version at once.
                key = {"project": "p", "domain": "development", "name": "inc", "version": "v1"}
                assert await ctx.db.insert_if_absent(schema.Task, **key, closure=b"") is None
            assert kept(b.url) == []

            async def registers_and_fails(ctx: Any, request: Any) -> None:
                await tasks.create_task(ctx, request)
                raise errors.Aborted("the end of the call fails")

            await refusal(b, registers_and_fails, a_task("new"), errors.Aborted)
            assert kept(b.url) == []
            await b.call(tasks.create_task, a_task("new"))
            assert kept(b.url) == [(1, "new")]

        bench(scenario)

    def test_an_existing_key_is_the_same_error(self, url: str) -> None:
        with opened(url) as connection:
            insert(connection, "tasks", "a")
            with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)) as refused:
                insert(connection, "tasks", "a")
            assert "tasks" in str(refused.value)
            assert "registered_names" not in str(refused.value)
        assert kept(url) == [(1, "a")]

    @pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
    def test_the_second_waits_for_the_first(
        self, postgres: Postgres, emptied_database: Callable[[str], str], end: str
    ) -> None:
        url = emptied_database("postgresql")
        with opened(url) as first, opened(url) as second, ThreadPoolExecutor(1) as threads:
            first.execute("BEGIN")
            insert(first, "tasks", "new", "v1")
            other = threads.submit(insert, second, "tasks", "new", "v2")
            until_one_waits(url)
            first.execute(end)
            other.result(WAIT_SECONDS_MAX)
        assert kept(url) == [(1, "new")]


def until_one_waits(url: str) -> None:
    """Until a session of this PostgreSQL waits for another's lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with opened(url) as connection:
        while not connection.execute(query).fetchone()[0]:
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.01)


class TestMigration:
    def test_upgrade_downgrade_and_upgrade(self, url: str) -> None:
        migrations.rollback(url, "0006")
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        assert "registered_names" not in sa.inspect(engine).get_table_names()
        with opened(url) as connection:
            for table in KINDS:
                # A trigger that was left behind would miss its table.
                for name, version in (("a", "v1"), ("a", "v2"), ("b", "v1")):
                    insert(connection, table, name, version)
            if not url.startswith("sqlite"):
                left = "SELECT count(*) FROM pg_proc WHERE proname = 'register_name'"
                assert connection.execute(left).fetchone()[0] == 0
        assert migrations.run(url)[0] == "0006"
        assert kept(url) == [(kind, name) for kind in (1, 2, 3) for name in ("a", "b")]
        with opened(url) as connection:
            insert(connection, "tasks", "c")
        assert (1, "c") in kept(url)
        migrations.rollback(url, "0006")
        migrations.run(url)
        found, wanted = everything(url)
        assert found == wanted
        engine.dispose()

    def test_a_database_of_upstream(self, postgres: Postgres) -> None:
        url = postgres.create()
        with opened(url) as connection:
            connection.execute(SAMPLE.read_bytes())
        migrations.run(url)
        found, wanted = everything(url)
        assert found == wanted
        assert {row[0] for row in found} == {1, 2, 3}

    def test_a_role_without_rights_on_our_table_registers(
        self, postgres: Postgres, emptied_database: Callable[[str], str]
    ) -> None:
        """As upstream's server may, in a database that somebody else has migrated; it may search another schema too."""
        url = emptied_database("postgresql")
        with opened(url) as connection:
            connection.execute("CREATE ROLE upstream_of_names")
            connection.execute("GRANT INSERT ON tasks TO upstream_of_names")
            connection.execute("GRANT USAGE ON tasks_id_seq TO upstream_of_names")
            connection.execute("SET ROLE upstream_of_names")
            connection.execute("SET search_path TO pg_catalog")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT 1 FROM public.registered_names")
            insert(connection, "public.tasks", "a")
            columns = ", ".join(f"{part} text" for part in ("project", "domain", "name"))
            connection.execute(f"CREATE TEMPORARY TABLE own ({columns})")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="register_name"):
                connection.execute(
                    "CREATE TRIGGER forged AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION public.register_name(1)"
                )
        assert kept(url) == [(1, "a")]

    @pytest.mark.slow
    def test_no_registration_is_missed_meanwhile(self, before: str) -> None:
        """One is open when the migration begins: nobody sees its row, and no trigger saw it."""
        with opened(before) as connection, ThreadPoolExecutor(1) as threads:
            connection.execute("BEGIN")
            for table in KINDS:
                insert(connection, table, "open")
            migration = threads.submit(migrations.run, before)
            until_one_waits(before)
            connection.execute("COMMIT")
            migration.result(WAIT_SECONDS_MAX)
        assert kept(before) == [(kind, "open") for kind in (1, 2, 3)]

    @pytest.mark.slow
    def test_registrations_continue_meanwhile(self, before: str) -> None:
        stop = threading.Event()

        def write() -> int:
            with opened(before) as connection:
                number = 0
                while not stop.is_set():
                    for table in KINDS:
                        insert(connection, table, f"n{number // 2}", f"v{number}")
                    number += 1
                return number

        with ThreadPoolExecutor(2) as threads:
            writers = [threads.submit(write)]
            try:
                migrations.run(before)
            finally:
                stop.set()
            assert writers[0].result(WAIT_SECONDS_MAX) > 1
        found, wanted = everything(before)
        assert found == wanted

    @pytest.mark.slow
    def test_an_interrupted_migration_is_completed_by_the_next_run(
        self, before: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrations, "_LOCK_TIMEOUT_SECONDS", 0.1)
        with opened(before) as connection:
            insert(connection, "tasks", "a")
            connection.execute("BEGIN")
            insert(connection, "launch_plans", "lp")
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                migrations.run(before)
            connection.execute("COMMIT")
            insert(connection, "tasks", "b")
            assert migrations.pending(before)
        assert migrations.run(before)[0] == "0006"
        assert kept(before) == [(1, "a"), (1, "b"), (3, "lp")]
