"""The configuration that an execution was launched with, merged from all its sources, for the engine that runs it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("launches", sa.Column("config", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("launches", "config")
