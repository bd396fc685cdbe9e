"""The table of tasks that services run: of our own, ignored by upstream (alembic/versions/0016)."""

from sqlalchemy import Column, Integer, LargeBinary
from sqlmodel import Field

from app.database.schema import Base, text_column


class ConnectorJob(Base, table=True):
    """A task that a service (connector, agent) has accepted. It is deleted when its execution has ended.

    Attributes:
        generated_name: The name of the attempt, unique in its execution.
        node_id: The unique id of the node. The indices of a map have that of the array node.
        plugin: connector-service or agent-service.
        deployment: The id of the service in the settings; "" for the default one.
        task_type: The type under which the service accepted the task.
        task_type_version: Its version.
        resource_meta: Bytes of the service that name the task in every later call.
        reply: The last reply, an admin.Resource without outputs; NULL before the task has ended.
    """

    __tablename__ = "connector_jobs"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    generated_name: str = text_column(key=True)
    node_id: str = text_column(nullable=False)
    plugin: str = text_column(nullable=False)
    deployment: str = text_column(nullable=False)
    task_type: str = text_column(nullable=False)
    task_type_version: int = Field(sa_column=Column(Integer, nullable=False))
    resource_meta: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    reply: bytes | None = Field(sa_column=Column(LargeBinary))
