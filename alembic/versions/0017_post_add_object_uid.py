"""Add to launches the uid of the object on Kubernetes, so that an abort deletes no later object of the same name.

Upstream and earlier versions of this server ignore the column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("launches", sa.Column("object_uid", sa.Text()))


def downgrade() -> None:
    op.drop_column("launches", "object_uid")
