"""How the databases answer a request: every statement that it runs, with its plan and the rows that were read for it.

Both plans are of the very statements and values that the server sends: PostgreSQL's come with counts of rows, of SQLite
the instructions of its virtual machine are counted.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg
from psycopg import sql

from app.database import postgres, sqlite
from app.database.statements import POSTGRESQL, SQLITE, PlanMode, Statement

STEPS_AT_ONCE = 100
_EXPLAIN = "EXPLAIN (ANALYZE, FORMAT JSON)"


@dataclass(frozen=True, slots=True)
class Plan:
    """One statement's plan.

    scanned: tables that were read without an index, with the number of rows read
    sorted:  the largest number of rows that were sorted (on SQLite 1 where anything is sorted, 0 otherwise)
    read:    rows that were read of all tables and indexes (on SQLite instructions)
    """

    sql: str
    text: str
    scanned: dict[str, int]
    sorted: int
    read: int


@contextmanager
def recorded() -> Iterator[list[tuple[Statement, dict[str, Any]]]]:
    """The statements that units of work run for this task and those that it starts, with their values.

    Services that run beside requests belong to tasks that were started before, and their statements are left out.
    """
    found: list[tuple[Statement, dict[str, Any]]] = []
    recording = ContextVar("recording", default=False)
    recording.set(True)

    def noting(run: Any) -> Any:
        async def noted(self: Any, statement: Statement, parameters: dict[str, Any]) -> Any:
            if recording.get():
                found.append((statement, dict(parameters)))
            return await run(self, statement, parameters)

        return noted

    with ExitStack() as changed:
        for kind in (postgres.PostgresUnit, sqlite.SqliteUnit):
            changed.enter_context(mock.patch.object(kind, "_run", noting(kind._run)))
        yield found


def of_postgres(connection: Any, statement: Statement, parameters: dict[str, Any]) -> Plan:
    """The plan on an open connection, made as app/database/pipeline.py has it made; the statement runs."""
    compiled = statement.compiled(POSTGRESQL)
    values = compiled.parameters(parameters)
    if statement.plan_mode is not PlanMode.GENERIC:
        # As PostgreSQL plans a statement at first.
        cursor: Any = psycopg.RawCursor(connection)
        row = cursor.execute(f"{_EXPLAIN} {compiled.sql}", values, prepare=False).fetchone()
    else:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE explained AS {compiled.sql}")
        row = connection.execute(
            sql.SQL("{} EXECUTE explained ({})").format(sql.SQL(_EXPLAIN), sql.SQL(", ").join(map(sql.Literal, values)))
        ).fetchone()
        connection.execute("DEALLOCATE explained")
    top = row[0][0]["Plan"]
    scanned: dict[str, int] = {}
    read = largest = 0
    for node in _nodes(top):
        loops = node["Actual Loops"]
        if "Relation Name" in node or "Index Name" in node:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            seen = (node["Actual Rows"] + removed) * loops
            read += max(seen, loops)
            if node["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
                scanned[node["Relation Name"]] = max(seen, scanned.get(node["Relation Name"], 0))
        if node["Node Type"] == "Sort" and loops:
            largest = max(largest, node["Plans"][0]["Actual Rows"])
    return Plan(compiled.sql, "\n".join(_lines(top, 0)), scanned, largest, read)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    where = node.get("Index Name") or node.get("Relation Name") or ""
    removed = node.get("Rows Removed by Filter", 0)
    rows = f"{node['Actual Rows']} rows, {removed} removed, {node['Actual Loops']} times"
    yield f"{'  ' * depth}{node['Node Type']} {where} ({rows})"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


def of_sqlite(connection: sqlite3.Connection, statement: Statement, parameters: dict[str, Any]) -> Plan:
    """The plan on an open connection; the statement runs."""
    compiled = statement.compiled(SQLITE)
    values = compiled.parameters(parameters)
    details = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", values)]
    scanned = {}
    for detail in details:
        # SCAN of a table, also along a whole index; a subquery or a CTE is no table.
        found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX \w+)?$", detail)
        if found:
            name = found[1]
            alias = re.search(rf"(\w+) AS {name}\b", compiled.sql)
            table = alias[1] if alias else name
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                scanned[table] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += STEPS_AT_ONCE
        return 0

    connection.set_progress_handler(count, STEPS_AT_ONCE)
    connection.execute(compiled.sql, values).fetchall()
    connection.set_progress_handler(None, 0)
    sorts = any("TEMP B-TREE FOR ORDER BY" in detail for detail in details)
    return Plan(compiled.sql, "\n".join(details), scanned, int(sorts), steps)
