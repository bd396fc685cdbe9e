"""The choice of a driver by URL and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.database.connect import database_at, database_of
from app.database.postgres import PostgresDatabase
from app.database.sqlite import SqliteDatabase
from app.settings import Settings


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////tmp/x.db", SqliteDatabase),
        ("postgresql://flyte@localhost/flyte", PostgresDatabase),
        ("postgresql+psycopg://flyte@localhost/flyte", PostgresDatabase),
    ],
)
def test_the_url_chooses_the_driver(url: str, driver: type) -> None:
    found = database_at(url, connections_max=2, busy_timeout_seconds=1, statement_timeout_seconds=1)
    assert isinstance(found, driver)


@pytest.mark.parametrize(("workers", "connections"), [(1, 20), (4, 5), (20, 2)])
def test_workers_share_the_connections(tmp_path: Path, workers: int, connections: int) -> None:
    settings = Settings(
        home=tmp_path,
        database={"url": "postgresql://flyte@localhost/flyte", "max_open_connections": 20},  # type: ignore[arg-type]
        server={"workers": workers},  # type: ignore[arg-type]
    )
    database = database_of(settings)
    assert isinstance(database, PostgresDatabase)
    assert database._url == "postgresql://flyte@localhost/flyte"
    assert database._connections_max == connections
