"""Add the outbox: messages to other systems.

Upstream and earlier versions of this server ignore the table. app/database/outbox_tables.py describes its columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TABLE = "outbox_messages"
_EXECUTION = ["execution_project", "execution_domain", "execution_name"]


def _index(name: str, columns: list[str], where: str = "") -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, _TABLE, columns, postgresql_where=condition, sqlite_where=condition)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    binary: sa.types.TypeEngine = sa.LargeBinary()
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
            for name in ("delivery_id", "target", "kind", "recipient", *_EXECUTION, "state")
        ),
        sa.Column("content", binary, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        *(sa.Column(name, time) for name in ("next_at", "finished_at", "leased_until")),
        *(sa.Column(name, sa.Text()) for name in ("reply", "reason", "owner")),
        *([] if sqlite else [sa.PrimaryKeyConstraint("delivery_id", name=f"{_TABLE}_pkey")]),
    )
    if sqlite:
        op.create_index(f"{_TABLE}_pkey", _TABLE, ["delivery_id"], unique=True)
    else:
        _index(f"{_TABLE}_id_idx", ["id"])
    # The messages of an execution; those that wait, by target and by execution; leases; messages to delete.
    _index(f"{_TABLE}_execution_idx", [*_EXECUTION, "id"])
    _index(f"{_TABLE}_pending_idx", ["target", "id"], "state = 'pending'")
    _index(f"{_TABLE}_order_idx", [*_EXECUTION, "target", "id"], "state = 'pending'")
    _index(f"{_TABLE}_owner_idx", ["owner"], "owner IS NOT NULL")
    _index(f"{_TABLE}_finished_at_idx", ["finished_at"], "finished_at IS NOT NULL")


def downgrade() -> None:
    op.drop_table(_TABLE)
