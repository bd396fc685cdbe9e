"""Add the merged configuration of an execution to its launch, for the engine."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("launches", sa.Column("config", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("launches", "config")
