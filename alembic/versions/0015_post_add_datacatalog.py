"""Add datasets, tags and partitions of the catalog, which DataCatalog serves, and the expiry of its reservations.

An artifact was the row of one tag until now. From now on an artifact has any number of tags, in rows of their own.
Servers of an earlier version cannot read or write the cache afterwards: their cached nodes wait until the server is
restarted with this version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_DATASET = ("dataset_project", "dataset_domain", "dataset_name", "dataset_version")
_ARTIFACT = (*_DATASET, "artifact_id")
# Table → (key, other columns of text that are not NULL).
_TABLES = {
    "catalog_datasets": (_DATASET, ("task_version",)),
    "catalog_tags": ((*_DATASET, "tag"), ("artifact_id",)),
    "catalog_partitions": ((*_ARTIFACT, "key"), ("value",)),
}
# Index → (table, columns).
_INDEXES = {
    "catalog_artifacts_by_dataset": ("catalog_artifacts", (*_DATASET, "id")),
    "catalog_artifacts_by_artifact_id": ("catalog_artifacts", ("artifact_id",)),
    "catalog_tags_by_artifact": ("catalog_tags", _ARTIFACT),
}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    for table, (key, texts) in _TABLES.items():
        _create(table, key, texts, time)
    op.add_column("catalog_datasets", sa.Column("uuid", sa.Text()))
    op.add_column("catalog_datasets", sa.Column("dataset", sa.LargeBinary()))
    columns, times = ", ".join(_DATASET), "created_at, updated_at"
    op.execute(
        f"INSERT INTO catalog_datasets ({columns}, task_version, {times}) SELECT {columns}, min(task_version), "
        f"min(created_at), min(created_at) FROM catalog_artifacts GROUP BY {columns}"
    )
    op.execute(
        f"INSERT INTO catalog_tags ({columns}, tag, artifact_id, {times}) "
        f"SELECT {columns}, tag, artifact_id, created_at, created_at FROM catalog_artifacts"
    )
    _key_of_artifacts(_ARTIFACT, lambda: op.drop_column("catalog_artifacts", "tag"))
    op.add_column("catalog_artifacts", sa.Column("details", sa.LargeBinary()))
    op.add_column("catalog_reservations", sa.Column("expires_at", time))
    for name, (table, of) in _INDEXES.items():
        op.create_index(name, table, list(of))


def downgrade() -> None:
    same = " AND ".join(f"t.{name} = catalog_artifacts.{name}" for name in _ARTIFACT)
    for name, (table, _) in _INDEXES.items():
        if table == "catalog_artifacts":
            op.drop_index(name, table)
    op.execute("DELETE FROM catalog_reservations WHERE expires_at IS NOT NULL")
    op.drop_column("catalog_reservations", "expires_at")
    op.execute(f"DELETE FROM catalog_artifacts WHERE NOT EXISTS (SELECT 1 FROM catalog_tags t WHERE {same})")
    op.drop_column("catalog_artifacts", "details")
    op.add_column("catalog_artifacts", sa.Column("tag", sa.Text(), nullable=False, server_default=""))
    op.execute(f"UPDATE catalog_artifacts SET tag = (SELECT min(t.tag) FROM catalog_tags t WHERE {same})")
    _key_of_artifacts((*_DATASET, "tag"), lambda: None)
    for table in _TABLES:
        op.drop_table(table)


def _create(table: str, key: tuple[str, ...], texts: tuple[str, ...], time: sa.types.TypeEngine) -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    op.create_table(
        table,
        row_id,
        *(sa.Column(name, time) for name in ("created_at", "updated_at", "deleted_at")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*key, *texts)),
        *([] if sqlite else [sa.PrimaryKeyConstraint(*key, name=f"{table}_pkey")]),
    )
    if sqlite:
        op.create_index(f"{table}_pkey", table, list(key), unique=True)


def _key_of_artifacts(key, change) -> None:
    """Replace the key of catalog_artifacts, and change its columns while it has none."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        op.drop_index("catalog_artifacts_pkey", "catalog_artifacts")
    else:
        op.drop_constraint("catalog_artifacts_pkey", "catalog_artifacts")
    change()
    if sqlite:
        op.create_index("catalog_artifacts_pkey", "catalog_artifacts", list(key), unique=True)
    else:
        op.create_primary_key("catalog_artifacts_pkey", "catalog_artifacts", list(key))
