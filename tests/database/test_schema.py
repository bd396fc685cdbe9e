"""The migrated database is upstream's, table by table, and what upstream made is left as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from app import errors
from app.database import auth_tables, catalog_tables, connector_tables, migrations, outbox_tables, schedule_tables
from app.server import startup
from app.settings import BadSetting, Settings
from tests.conftest import Postgres

SAMPLE = Path(__file__).parents[1] / "sample"
OURS = {
    "launches",
    "connector_jobs",
    "catalog_artifacts",
    "catalog_datasets",
    "catalog_partitions",
    "catalog_reservations",
    "catalog_tags",
    "registered_names",
    "leases",
    "shared_values",
    "auth_sessions",
    "auth_grants",
    "auth_clients",
    "auth_roles",
    "schedule_states",
    "outbox_messages",
    "alembic_version",
}


def load(url: str, dump: Path) -> None:
    """Run a plain SQL dump; psql is not on every machine."""
    text = "\n".join(line for line in dump.read_text().splitlines() if not line.startswith("\\"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.encode(), prepare=False)


def catalogue(url: str, what: str) -> set[tuple[Any, ...]]:
    queries = {
        "columns": """
            SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,
                   replace(coalesce(column_default, ''), 'public.', '')
            FROM information_schema.columns WHERE table_schema = 'public'""",
        "constraints": """
            SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f')""",
        "indexes": """
            SELECT tablename, indexname, replace(indexdef, 'public.', '')
            FROM pg_indexes WHERE schemaname = 'public'""",
        "sequences": "SELECT sequence_name, data_type, start_value, increment FROM information_schema.sequences",
    }
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path TO public")
        rows = connection.execute(queries[what].encode()).fetchall()
    return {tuple(str(cell).removeprefix("public.") for cell in row) for row in rows}


@pytest.mark.parametrize("what", ["columns", "constraints", "indexes", "sequences"])
def test_a_migrated_empty_database_equals_the_reference(postgres: Postgres, what: str) -> None:
    ours, reference = postgres.create(), postgres.create()
    migrations.run(ours)
    load(reference, Path(__file__).parent / "upstream-schema.sql")
    # Upstream ignores our own tables and additional indexes.
    made = {row for row in catalogue(ours, what) if row[0].removesuffix("_id_seq") not in OURS}
    wanted = catalogue(reference, what)
    assert wanted <= made, sorted(wanted - made)
    if what != "indexes":
        assert made == wanted, sorted(made - wanted)


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        names = [
            r[0] for r in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        ]
        return {
            name: sorted(connection.execute(f'SELECT * FROM public."{name}"'.encode()).fetchall(), key=repr)
            for name in names
            if name not in OURS
        }


def test_migrating_a_database_of_upstream_leaves_its_rows_byte_for_byte(postgres: Postgres) -> None:
    url = postgres.create()
    load(url, SAMPLE / "dump.sql")
    before = rows_of(url)
    assert sum(map(len, before.values())) > 100
    migrations.run(url)
    assert rows_of(url) == before
    assert not migrations.pending(url)


def test_a_database_of_an_older_upstream_is_refused(postgres: Postgres) -> None:
    url = postgres.create()
    load(url, SAMPLE / "dump.sql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM public.migrations WHERE id = '2025-05-29-add-index-executions-phase'")
    with pytest.raises(errors.FailedPrecondition, match=r"older than v1\.16\.8"):
        migrations.run(url)


def test_tables_of_another_program_are_refused_and_stay(empty_database: Callable[[str], str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'foreign.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE projects (x integer)")
    with pytest.raises(errors.FailedPrecondition, match="a table projects"):
        migrations.run(url)
    assert sa.inspect(engine).get_table_names() == ["projects"]
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_newer_than_the_code_is_refused(kind: str, empty_database: Callable[[str], str]) -> None:
    url = empty_database(kind)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(errors.FailedPrecondition, match="newer flyteadmin"):
        migrations.pending(url)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_schema_py_and_the_database_have_the_same_tables(kind: str, empty_database: Callable[[str], str]) -> None:
    engine = sa.create_engine(empty_database(kind).replace("postgresql://", "postgresql+psycopg://"))
    inspector = sa.inspect(engine)
    assert auth_tables.Base is schedule_tables.Base is outbox_tables.Base
    assert catalog_tables.Base is connector_tables.Base is outbox_tables.Base
    tables = schedule_tables.Base.metadata.tables
    for table in tables.values():
        found = {column["name"]: column for column in inspector.get_columns(table.name)}
        assert set(found) == {column.name for column in table.columns}, table.name
        for column in table.columns:
            assert found[column.name]["nullable"] == column.nullable, (table.name, column.name)
    assert set(inspector.get_table_names()) - {"migrations", "alembic_version"} == set(tables)
    engine.dispose()


@pytest.mark.slow
def test_migrating_twice_at_once_migrates_once(postgres: Postgres) -> None:
    url = postgres.create()
    code = f"from app.database import migrations; print(migrations.run({url!r}))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = sorted(process.communicate(timeout=180)[0].strip() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert results[1].startswith("(None")
    assert not results[0].startswith("(None")


@pytest.mark.slow
def test_a_migration_names_a_locked_table(
    tmp_path: Path, empty_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_database("postgresql")
    migrations.rollback(url, "0006")
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT_SECONDS", 1)
    settings = Settings.model_validate({"home": tmp_path, "database": {"url": url}})
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE tasks IN ROW EXCLUSIVE MODE")
        with pytest.raises(BadSetting, match=r"lock timeout; another session uses a table .* run the command again"):
            startup.migrate(settings, startup.Progress())
    startup.migrate(settings, startup.Progress())
    assert not migrations.pending(url)
