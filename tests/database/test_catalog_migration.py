"""Migration 0015: entries of the task cache become artifacts with tags, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from app.database import migrations
from tests.conftest import DATABASES

OLD = (
    "INSERT INTO catalog_artifacts (dataset_project, dataset_domain, dataset_name, dataset_version, tag, artifact_id, "
    "output_uri, digest, task_version, execution_project, execution_domain, execution_name, node_id, retry_attempt) "
    "VALUES ('p', 'd', 'flyte_task-t', '{version}', '{tag}', '{id}', '/o', '', 'v1', 'p', 'd', 'e', 'n0', 0)"
)
OWN = "INSERT INTO catalog_reservations (dataset_project, dataset_domain, dataset_name, dataset_version, tag, "
CLIENTS = OWN + (
    "execution_project, execution_domain, execution_name, node_id, owner, expires_at) "
    "VALUES ('p', 'd', 'n', 'v', 't', '', '', '', '', 'o', '2026-01-01 00:00:00+00:00')"
)


def run(url: str, *statements: str) -> list[Any]:
    """Run statements and return the rows of the last one."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return [connection.execute(statement) for statement in statements][-1].fetchall()
    with psycopg.connect(url) as connection:
        last = [connection.execute(statement.encode()) for statement in statements][-1]
        return last.fetchall() if last.description else []


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_entries_survive_both_ways(kind: str, empty_database: Callable[[str], str]) -> None:
    url = empty_database(kind)
    migrations.rollback(url, "0014")
    entries = [("1", "t1", "a"), ("1", "t2", "b"), ("2", "t1", "c")]
    run(url, *(OLD.format(version=version, tag=tag, id=id) for version, tag, id in entries))
    migrations.run(url)
    tags = "SELECT dataset_version, tag, artifact_id FROM catalog_tags ORDER BY 1, 2"
    assert list(map(tuple, run(url, tags))) == entries
    datasets = "SELECT dataset_version, task_version FROM catalog_datasets ORDER BY 1"
    assert list(map(tuple, run(url, datasets))) == [("1", "v1"), ("2", "v1")]
    run(url, "DELETE FROM catalog_tags WHERE artifact_id = 'c'", CLIENTS)
    migrations.rollback(url, "0014")
    left = "SELECT dataset_version, tag, artifact_id FROM catalog_artifacts ORDER BY 1, 2"
    assert list(map(tuple, run(url, left))) == entries[:2]
    assert run(url, "SELECT owner FROM catalog_reservations") == []
    migrations.run(url)
    assert list(map(tuple, run(url, tags))) == entries[:2]
