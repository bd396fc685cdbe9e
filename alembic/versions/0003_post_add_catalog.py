"""Add the catalog of cached outputs, and reservations of outputs that a node is producing."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = ("dataset_project", "dataset_domain", "dataset_name", "dataset_version", "tag")
_NODE = ("execution_project", "execution_domain", "execution_name", "node_id")
_TABLES = {
    "catalog_artifacts": ("artifact_id", "output_uri", "task_version", *_NODE),
    "catalog_reservations": (*_NODE, "owner"),
}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    times: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    others = {
        "catalog_artifacts": (
            sa.Column("digest", sa.LargeBinary(), nullable=False),
            sa.Column("retry_attempt", sa.Integer(), nullable=False),
        )
    }
    for table, columns in _TABLES.items():
        row_id = (
            sa.Column("id", sa.Integer(), primary_key=True)
            if sqlite
            else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
        )
        key = [] if sqlite else [sa.PrimaryKeyConstraint(*_KEY, name=f"{table}_pkey")]
        op.create_table(
            table,
            row_id,
            *(sa.Column(name, times) for name in ("created_at", "updated_at", "deleted_at")),
            *(sa.Column(name, sa.Text(), nullable=False) for name in (*_KEY, *columns)),
            *others.get(table, ()),
            *key,
        )
        if sqlite:
            op.create_index(f"{table}_pkey", table, list(_KEY), unique=True)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
