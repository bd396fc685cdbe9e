"""Add the tasks that services run, so that a restarted server asks for them again instead of creating them twice.

Upstream and earlier versions of this server ignore the table. app/database/connector_tables.py describes its columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TABLE = "connector_jobs"
_KEY = ["execution_project", "execution_domain", "execution_name", "generated_name"]


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    op.create_table(
        _TABLE,
        row_id,
        *(sa.Column(name, time) for name in ("created_at", "updated_at", "deleted_at")),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in (*_KEY, "node_id", "plugin", "deployment", "task_type")
        ),
        sa.Column("task_type_version", sa.Integer(), nullable=False),
        sa.Column("resource_meta", sa.LargeBinary(), nullable=False),
        sa.Column("reply", sa.LargeBinary()),
        *([] if sqlite else [sa.PrimaryKeyConstraint(*_KEY, name=f"{_TABLE}_pkey")]),
    )
    if sqlite:
        op.create_index(f"{_TABLE}_pkey", _TABLE, _KEY, unique=True)


def downgrade() -> None:
    op.drop_table(_TABLE)
