"""Add to schedules the names by which bindings of roles mean who activated them.

Upstream and earlier versions of this server ignore the column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("schedule_states", sa.Column("activated_as", sa.Text()))


def downgrade() -> None:
    op.drop_column("schedule_states", "activated_as")
