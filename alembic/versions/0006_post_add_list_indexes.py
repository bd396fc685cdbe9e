"""Add indexes in the order of lists, so that the cost of a page does not depend on the size of its table.

Upstream ignores them. On PostgreSQL an index of a large table is created CONCURRENTLY, outside a transaction: it takes
minutes for millions of rows, and writes continue. An interrupted run leaves an invalid index, which the next run drops
and creates again; complete indexes stay. A small table is locked for the short time.

SQLite chooses indexes by statistics, which nothing else writes. This revision writes those of a large database, so that
plans are the same on every machine and do not change with the number of rows.
"""

import math

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_RUN = ("execution_project", "execution_domain")
_ORDER = ("created_at", "id")
_VERSIONS = ("tasks", "workflows", "launch_plans")

_LARGE_ROWS = 10_000

# Index → (table, columns, condition of a partial index or "").
INDEXES: dict[str, tuple[str, tuple[str, ...], str]] = {
    **{f"{t}_by_time": (t, ("project", "domain", *_ORDER), "") for t in _VERSIONS},
    **{f"{t}_by_name": (t, ("name", "project", "domain", *_ORDER), "") for t in _VERSIONS},
    **{f"{t}_by_version": (t, ("version", "project", "domain", *_ORDER), "") for t in _VERSIONS},
    "launch_plans_active": ("launch_plans", ("project", "domain", *_ORDER), "state = 1"),
    "launch_plans_active_by_name": ("launch_plans", ("name", "project", "domain"), "state = 1"),
    "launch_plans_scheduled": ("launch_plans", ("name", "project", "domain", *_ORDER), "schedule_type <> 'NONE'"),
    "description_entities_by_time": (
        "description_entities",
        ("name", "project", "domain", "resource_type", *_ORDER),
        "",
    ),
    "executions_by_time": ("executions", (*_RUN, "state", *_ORDER), ""),
    "executions_by_phase": ("executions", (*_RUN, "state", "phase", *_ORDER), ""),
    "executions_by_mode": ("executions", (*_RUN, "state", "mode", *_ORDER), ""),
    "executions_by_user": ("executions", (*_RUN, "state", "user", *_ORDER), ""),
    "executions_by_duration": ("executions", (*_RUN, "state", "duration"), ""),
    # For merged pages of several versions: the index has every column that chooses their rows.
    "executions_by_launch_plan": ("executions", ("launch_plan_id", *_RUN, "state", *_ORDER, "phase"), ""),
    "executions_by_workflow": ("executions", ("workflow_id", *_RUN, "state", *_ORDER, "phase"), ""),
    # Two partial indexes: PostgreSQL does not treat IS NULL as a constant, so an index that starts with parent_id gives
    # it no order for the rows without a parent.
    "node_executions_at_top": ("node_executions", (*_RUN, "execution_name", *_ORDER), "parent_id IS NULL"),
    "node_executions_inside": ("node_executions", ("parent_id", *_ORDER), "parent_id IS NOT NULL"),
}


# The statistics for SQLite: rows of a table, and distinct values of a column (1,000 for columns that are not listed).
_ROWS = {
    "tasks": 50_000,
    "workflows": 50_000,
    "launch_plans": 50_000,
    "description_entities": 50_000,
    "executions": 1_000_000,
    "node_executions": 5_000_000,
    "task_executions": 5_000_000,
    "execution_tags": 1_000_000,
}
_VALUES = {
    "project": 10,
    "domain": 2,
    "execution_project": 10,
    "execution_domain": 2,
    "resource_type": 2,
    "name": 2_000,
    "version": 1_000,
    "execution_name": 1_000_000,
    "node_id": 100,
    "retry_attempt": 2,
    "key": 20,
    "state": 2,
    "phase": 5,
    "mode": 3,
    "user": 20,
    "error_kind": 3,
    "schedule_type": 3,
    "deleted_at": 1,
    "launch_plan_id": 50_000,
    "workflow_id": 50_000,
    "task_id": 50_000,
    "parent_id": 1_000_000,
    "parent_task_execution_id": 100_000,
    "created_at": 1_000_000,
    "execution_created_at": 1_000_000,
    "id": 10**7,
}
_PARTS = {"launch_plans_active": 25, "launch_plans_active_by_name": 25, "launch_plans_scheduled": 100}


def _write_statistics() -> None:
    """Write a line for each index: its rows, then the rows with an equal first column, equal first two columns, …"""
    bind = op.get_bind()
    bind.exec_driver_sql("ANALYZE alembic_version")
    for table, rows in _ROWS.items():
        bind.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = ?", (table,))
        for index in sa.inspect(bind).get_indexes(table):
            held = rows // _PARTS.get(str(index["name"]), 1)
            values = [_VALUES.get(str(column), 1_000) for column in index["column_names"]]
            alike = [max(1, held // math.prod(values[: end + 1])) for end in range(len(values))]
            line = " ".join(map(str, [held, *alike]))
            bind.exec_driver_sql(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", (table, index["name"], line)
            )


def _is_large(table: str) -> bool:
    rows = sa.select(sa.literal_column("1")).select_from(sa.table(table)).limit(_LARGE_ROWS).subquery()
    return bool(op.get_bind().execute(sa.select(sa.func.count()).select_from(rows)).scalar_one() == _LARGE_ROWS)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, (table, columns, where) in INDEXES.items():
            op.create_index(
                name, table, list(columns), sqlite_where=sa.text(where) if where else None, if_not_exists=True
            )
        _write_statistics()
        return
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        # CREATE INDEX CONCURRENTLY waits for open transactions and blocks nothing meanwhile.
        timeouts = ("lock_timeout", "statement_timeout")
        before = {name: bind.execute(sa.text(f"SHOW {name}")).scalar_one() for name in timeouts}
        for name in timeouts:
            op.execute(f"SET {name} = 0")
        invalid = "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid"
        for name in set(bind.execute(sa.text(invalid)).scalars()) & set(INDEXES):
            op.drop_index(name, postgresql_concurrently=True)
        for name, (table, columns, where) in INDEXES.items():
            op.create_index(
                name,
                table,
                list(columns),
                postgresql_where=sa.text(where) if where else None,
                postgresql_concurrently=_is_large(table),
                if_not_exists=True,
            )
        for name, value in before.items():
            op.execute(f"SET {name} = '{value}'")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DELETE FROM sqlite_stat1")
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)
