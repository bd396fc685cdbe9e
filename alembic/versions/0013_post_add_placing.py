"""Add to launches when and how often the Kubernetes engine has tried to place them, and an index of those to work on.

Upstream and earlier versions of this server ignore the columns. app/database/schema.py describes them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_TIMES = ("next_try_at", "placed_at", "removed_at")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    for name in _TIMES:
        op.add_column("launches", sa.Column(name, time))
    op.add_column("launches", sa.Column("tries", sa.Integer()))
    op.add_column("launches", sa.Column("problem", sa.Text()))
    given = sa.text("next_try_at IS NOT NULL")
    op.create_index("launches_next_try_at", "launches", ["next_try_at"], postgresql_where=given, sqlite_where=given)


def downgrade() -> None:
    op.drop_index("launches_next_try_at", "launches")
    for name in (*_TIMES, "tries", "problem"):
        op.drop_column("launches", name)
