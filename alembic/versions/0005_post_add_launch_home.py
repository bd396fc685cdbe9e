"""Add host and home of the server that started an execution, where the folders of its attempts are."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("launches", sa.Column("home", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("launches", "home")
