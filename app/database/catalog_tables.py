"""The tables of the catalog of cached outputs: of our own, ignored by upstream (alembic/versions/0015).

The local engine and the service DataCatalog share them. Their reservations are schema.CatalogReservation.
"""

from sqlalchemy import Column, Integer, LargeBinary
from sqlmodel import Field

from app.database.schema import Base, text_column


class CatalogDataset(Base, table=True):
    """A dataset: the outputs of one task with one cache version and one interface.

    Attributes:
        uuid: The UUID that a client gave; NULL for one that is computed from the key.
        task_version: The version of the task that came first, "" for an unknown one.
        dataset: The datacatalog.Dataset of a client without its id; NULL for a dataset of the local engine.
    """

    __tablename__ = "catalog_datasets"
    dataset_project: str = text_column(key=True)
    dataset_domain: str = text_column(key=True)
    dataset_name: str = text_column(key=True)
    dataset_version: str = text_column(key=True)
    uuid: str | None = text_column()
    task_version: str = text_column(nullable=False)
    dataset: bytes | None = Field(sa_column=Column(LargeBinary))


class CatalogArtifact(Base, table=True):
    """Cached outputs in a dataset.

    The columns task_version, execution_*, node_id and retry_attempt name the attempt that produced the outputs; its
    task has project, domain and name of the dataset.

    Attributes:
        output_uri: The object with the outputs, a LiteralMap: that of the attempt, or one that DataCatalog stored.
        digest: SHA-256 of its content.
        details: The datacatalog.Metadata of a client; NULL for an artifact of the local engine.
    """

    __tablename__ = "catalog_artifacts"
    dataset_project: str = text_column(key=True)
    dataset_domain: str = text_column(key=True)
    dataset_name: str = text_column(key=True)
    dataset_version: str = text_column(key=True)
    artifact_id: str = text_column(key=True)
    output_uri: str = text_column(nullable=False)
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    task_version: str = text_column(nullable=False)
    execution_project: str = text_column(nullable=False)
    execution_domain: str = text_column(nullable=False)
    execution_name: str = text_column(nullable=False)
    node_id: str = text_column(nullable=False)
    retry_attempt: int = Field(sa_column=Column(Integer, nullable=False))
    details: bytes | None = Field(sa_column=Column(LargeBinary))


class CatalogTag(Base, table=True):
    """A name of an artifact in its dataset. The tag of cached outputs is a hash of the task's inputs."""

    __tablename__ = "catalog_tags"
    dataset_project: str = text_column(key=True)
    dataset_domain: str = text_column(key=True)
    dataset_name: str = text_column(key=True)
    dataset_version: str = text_column(key=True)
    tag: str = text_column(key=True)
    artifact_id: str = text_column(nullable=False)


class CatalogPartition(Base, table=True):
    """A value of an artifact for one partition key of its dataset."""

    __tablename__ = "catalog_partitions"
    dataset_project: str = text_column(key=True)
    dataset_domain: str = text_column(key=True)
    dataset_name: str = text_column(key=True)
    dataset_version: str = text_column(key=True)
    artifact_id: str = text_column(key=True)
    key: str = text_column(key=True)
    value: str = text_column(nullable=False)
