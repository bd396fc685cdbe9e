"""Add leases by name, for work that one server process of a database does at a time.

Upstream and earlier versions of this server ignore the table. app/runtime/leases.py describes its columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    times: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    key = [] if sqlite else [sa.PrimaryKeyConstraint("name", name="leases_pkey")]
    op.create_table(
        "leases",
        row_id,
        *(sa.Column(name, times) for name in ("created_at", "updated_at", "deleted_at")),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("leased_until", times),
        *key,
    )
    if sqlite:
        op.create_index("leases_pkey", "leases", ["name"], unique=True)


def downgrade() -> None:
    op.drop_table("leases")
