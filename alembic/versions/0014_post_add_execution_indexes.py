"""Add indexes by which lists find executions with a tag or a label, and those that changed since a time.

Upstream and earlier versions of this server ignore them; `app/query/narrowing.py` uses them. PostgreSQL creates them
while writes continue. An interrupted run leaves an invalid index, which the next run drops and creates again.

A page of 50 of 900,000 executions, in ms without -> with the index, on a busy machine: gte(updated_at) with one match
2,700 -> 2 on SQLite and 1,860 -> 13 on PostgreSQL, the order of updated_at 7,000 -> 15 and 1,490 -> 4; to update an
execution takes 80.2 -> 81.5 us of CPU and 767 -> 846 us. A tag that no execution has takes 110 -> 1 on SQLite (12,400
before lists gathered tags), to insert one 13.5 -> 16.5 us; on PostgreSQL, which has an index on the key alone, 5 -> 10,
so it gets no index of tags. Orders by started_at or phase serve nobody, and no index serves contains(execution_name).
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_RUN = ["execution_project", "execution_domain"]
# Index → (table, columns).
_BY_UPDATE = {"executions_by_update": ("executions", [*_RUN, "state", "updated_at"])}
_BY_KEY = {"execution_tags_by_key": ("execution_tags", [*_RUN, "key", "value", "execution_name"])}
# SQLite's statistics are fixed (0006): rows of the table, and rows with equal first columns.
_STATISTICS = {
    "executions_by_update": "1000000 100000 50000 25000 1",
    "execution_tags_by_key": "1000000 100000 50000 2500 10 1",
}
_INVALID = "SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass(:name)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, (table, columns) in (_BY_UPDATE | _BY_KEY).items():
            op.create_index(name, table, columns)
            insert = "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)"
            op.get_bind().exec_driver_sql(insert, (table, name, _STATISTICS[name]))
        return
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        # CREATE INDEX CONCURRENTLY waits for open transactions and blocks nothing meanwhile.
        timeouts = ("lock_timeout", "statement_timeout")
        before = {name: bind.execute(sa.text(f"SHOW {name}")).scalar_one() for name in timeouts}
        for name in timeouts:
            op.execute(f"SET {name} = 0")
        for name, (table, columns) in _BY_UPDATE.items():
            if bind.execute(sa.text(_INVALID), {"name": name}).first():
                op.drop_index(name, postgresql_concurrently=True)
            op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True)
        for name, value in before.items():
            op.execute(f"SET {name} = '{value}'")


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name, (table, _) in (_BY_UPDATE | _BY_KEY if sqlite else _BY_UPDATE).items():
        if sqlite:
            op.execute(f"DELETE FROM sqlite_stat1 WHERE idx = '{name}'")
        op.drop_index(name, table)
