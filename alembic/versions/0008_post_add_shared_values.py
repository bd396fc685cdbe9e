"""Add values that all servers of a database share: the id of its storage, and the key that signs URLs of objects.

Upstream ignores the table. Servers fill it when they start (app/server/installation.py).
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    times: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    key = [] if sqlite else [sa.PrimaryKeyConstraint("name", name="shared_values_pkey")]
    op.create_table(
        "shared_values",
        row_id,
        *(sa.Column(name, times) for name in ("created_at", "updated_at", "deleted_at")),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        *key,
    )
    if sqlite:
        op.create_index("shared_values_pkey", "shared_values", ["name"], unique=True)


def downgrade() -> None:
    op.drop_table("shared_values")
