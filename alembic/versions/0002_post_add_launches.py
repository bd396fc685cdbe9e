"""Add launches: a row is committed together with its execution, so that an engine finds every execution to run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_RUN = ("execution_project", "execution_domain", "execution_name")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    times: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    key = [] if sqlite else [sa.PrimaryKeyConstraint(*_RUN, name="launches_pkey")]
    op.create_table(
        "launches",
        row_id,
        *(sa.Column(name, times) for name in ("created_at", "updated_at", "deleted_at")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _RUN),
        sa.Column("owner", sa.Text()),
        sa.Column("leased_until", times),
        *key,
    )
    if sqlite:
        op.create_index("launches_pkey", "launches", list(_RUN), unique=True)
    op.create_index("idx_launches_leased_until", "launches", ["leased_until"])


def downgrade() -> None:
    op.drop_table("launches")
