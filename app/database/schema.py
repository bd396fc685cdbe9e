"""All tables, as flyteadmin v1.16.8 has them (docs/decisions/0002), on one page.

Messages are stored whole as protobuf bytes; the columns that filters and sorts read are promoted beside
them. Keys are declared as on PostgreSQL: `id` comes from a sequence and is indexed, the key is the
identifier. On SQLite `id` is the INTEGER PRIMARY KEY and the same key is a unique index of the name
`<table>_pkey` (alembic/versions/0001). No relationships and no foreign keys: upstream has none.

Source: flyteadmin/pkg/repositories/models.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import TIMESTAMP, BigInteger, Column, Integer, LargeBinary, String, Table, Text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcTime(TypeDecorator[datetime]):
    """An instant. timestamptz on PostgreSQL; on SQLite text of fixed width, so that it sorts as time does."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else TIMESTAMP(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Any:
        """None on PostgreSQL, where the driver speaks of datetimes."""
        return super().bind_processor(dialect) if dialect.name == "sqlite" else None

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        """None on PostgreSQL, see bind_processor."""
        return super().result_processor(dialect, coltype) if dialect.name == "sqlite" else None

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        # Not strftime: it writes years before 1000 with fewer digits, which neither sorts nor reads back.
        return value.astimezone(UTC).isoformat(" ", "microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


def _text(*, key: bool = False, nullable: bool = True, length: int | None = None) -> Any:
    kind = String(length) if length else Text()
    return Field(sa_column=Column(kind, primary_key=key, nullable=nullable and not key))


def _integer(*, key: bool = False, nullable: bool = True, default: str | None = None) -> Any:
    return Field(sa_column=Column(Integer, primary_key=key, nullable=nullable and not key, server_default=default))


def _bigint(*, key: bool = False) -> Any:
    return Field(sa_column=Column(BigInteger, primary_key=key, nullable=not key))


def _bytes(*, nullable: bool = True) -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=nullable))


class Base(SQLModel):
    """The four columns of every table. deleted_at is never set and never read: it is there for upstream."""

    __table__: ClassVar[Table]

    id: int = Field(sa_type=BigInteger, nullable=False, index=True)
    created_at: datetime | None = Field(sa_type=UtcTime)
    updated_at: datetime | None = Field(sa_type=UtcTime)
    deleted_at: datetime | None = Field(sa_type=UtcTime, index=True)


class Project(Base, table=True):
    """labels: a serialized admin.Project whose labels are read, or NULL."""

    __tablename__ = "projects"
    identifier: str = _text(key=True)
    name: str | None = _text()
    description: str | None = _text(length=300)
    labels: bytes | None = _bytes()
    state: int | None = _integer(default="0")


class Task(Base, table=True):
    """closure: admin.TaskClosure. digest: of core.CompiledTask."""

    __tablename__ = "tasks"
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    closure: bytes = _bytes(nullable=False)
    digest: bytes | None = _bytes()
    type: str | None = _text()
    short_description: str | None = _text()


class Workflow(Base, table=True):
    """typed_interface: core.TypedInterface as submitted. remote_closure_identifier: URI of an admin.WorkflowClosure."""

    __tablename__ = "workflows"
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    typed_interface: bytes | None = _bytes()
    remote_closure_identifier: str = _text(nullable=False)
    digest: bytes | None = _bytes()
    short_description: str | None = _text()


class LaunchPlan(Base, table=True):
    """spec: admin.LaunchPlanSpec. closure: admin.LaunchPlanClosure without state and times. state: 1 is ACTIVE."""

    __tablename__ = "launch_plans"
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    spec: bytes = _bytes(nullable=False)
    workflow_id: int | None = _bigint()
    closure: bytes = _bytes(nullable=False)
    state: int | None = _integer(default="0")
    digest: bytes | None = _bytes()
    schedule_type: str | None = _text()
    launch_condition_type: str | None = _text(length=32)


class NamedEntityMetadata(Base, table=True):
    """Description and state of a (resource type, project, domain, name); absent means "" and ACTIVE."""

    __tablename__ = "named_entity_metadata"
    resource_type: int = _integer(key=True)
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    description: str | None = _text(length=300)
    state: int | None = _integer(default="0")


class DescriptionEntity(Base, table=True):
    """long_description: admin.Description."""

    __tablename__ = "description_entities"
    resource_type: int = _integer(key=True)
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    short_description: str | None = _text()
    long_description: bytes | None = _bytes()
    link: str | None = _text()


class Resource(Base, table=True):
    """Matchable attributes. resource_type: enum name; absent key parts: ''. attributes: admin.MatchingAttributes."""

    __tablename__ = "resources"
    id: int = _bigint(key=True)
    project: str | None = _text()
    domain: str | None = _text()
    workflow: str | None = _text()
    launch_plan: str | None = _text()
    resource_type: str | None = _text()
    priority: int | None = _integer()
    attributes: bytes | None = _bytes()


class Execution(Base, table=True):
    """spec: admin.ExecutionSpec. closure: admin.ExecutionClosure. phase: enum name. duration: nanoseconds."""

    __tablename__ = "executions"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    launch_plan_id: int | None = _bigint()
    workflow_id: int | None = _bigint()
    task_id: int | None = _bigint()
    phase: str | None = _text()
    closure: bytes | None = _bytes()
    spec: bytes = _bytes(nullable=False)
    started_at: datetime | None = Field(sa_type=UtcTime)
    execution_created_at: datetime | None = Field(sa_type=UtcTime)
    execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()
    abort_cause: str | None = _text()
    mode: int | None = _integer()
    source_execution_id: int | None = _bigint()
    parent_node_execution_id: int | None = _bigint()
    cluster: str | None = _text()
    inputs_uri: str | None = _text()
    user_inputs_uri: str | None = _text()
    error_kind: str | None = _text()
    error_code: str | None = _text()
    user: str | None = _text()
    state: int | None = _integer(default="0")
    launch_entity: str | None = _text()


class ExecutionTag(Base, table=True):
    """One row per label (key, value) and per tag (key, '')."""

    __tablename__ = "execution_tags"
    execution_project: str = _text(key=True, length=255)
    execution_domain: str = _text(key=True, length=255)
    execution_name: str = _text(key=True, length=255)
    key: str = _text(key=True, length=255)
    value: str = _text(key=True, length=255)


class ExecutionEvent(Base, table=True):
    """A workflow event as it was accepted; the engine and operators read it, the API does not."""

    __tablename__ = "execution_events"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    request_id: str | None = _text()
    occurred_at: datetime | None = Field(sa_type=UtcTime)
    phase: str = _text(key=True)


class NodeExecution(Base, table=True):
    """closure: admin.NodeExecutionClosure. node_execution_metadata: admin.NodeExecutionMetaData. duration: ns."""

    __tablename__ = "node_executions"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    node_id: str = _text(key=True)
    phase: str | None = _text()
    input_uri: str | None = _text()
    closure: bytes | None = _bytes()
    started_at: datetime | None = Field(sa_type=UtcTime)
    node_execution_created_at: datetime | None = Field(sa_type=UtcTime)
    node_execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()
    parent_task_execution_id: int | None = _bigint()
    dynamic_workflow_remote_closure_reference: str | None = _text()
    internal_data: bytes | None = _bytes()
    node_execution_metadata: bytes | None = _bytes()
    parent_id: int | None = _bigint()
    error_kind: str | None = _text()
    error_code: str | None = _text()
    cache_status: str | None = _text()


class NodeExecutionEvent(Base, table=True):
    """A node event as it was accepted."""

    __tablename__ = "node_execution_events"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    node_id: str = _text(key=True)
    request_id: str | None = _text()
    occurred_at: datetime | None = Field(sa_type=UtcTime)
    phase: str = _text(key=True)


class TaskExecution(Base, table=True):
    """One attempt. closure: admin.TaskExecutionClosure. duration: nanoseconds."""

    __tablename__ = "task_executions"
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    node_id: str = _text(key=True)
    retry_attempt: int = _bigint(key=True)
    phase: str | None = _text()
    phase_version: int | None = _bigint()
    input_uri: str | None = _text()
    closure: bytes | None = _bytes()
    started_at: datetime | None = Field(sa_type=UtcTime)
    task_execution_created_at: datetime | None = Field(sa_type=UtcTime)
    task_execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()


class Signal(Base, table=True):
    """type: core.LiteralType. value: core.Literal, NULL until it is set."""

    __tablename__ = "signals"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    signal_id: str = _text(key=True)
    type: bytes = _bytes(nullable=False)
    value: bytes | None = _bytes()


class SchedulableEntity(Base, table=True):
    """A launch plan version whose schedule the scheduler fires while active. unit: 0 minute, 1 hour, 2 day."""

    __tablename__ = "schedulable_entities"
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)
    version: str = _text(key=True)
    cron_expression: str | None = _text()
    fixed_rate_value: int | None = _bigint()
    unit: int | None = _integer()
    kickoff_time_input_arg: str | None = _text()
    active: bool | None = None


class ScheduleEntitiesSnapshot(Base, table=True):
    """The scheduler's memory of what fired last."""

    __tablename__ = "schedule_entities_snapshots"
    id: int = _bigint(key=True)
    snapshot: bytes | None = _bytes()


class RegisteredName(SQLModel, table=True):
    """Ours: a name that has versions. Triggers of the database write it (alembic/versions/0007), it has only its key.

    resource_type: core.ResourceType TASK, WORKFLOW or LAUNCH_PLAN.
    """

    __tablename__ = "registered_names"
    __table__: ClassVar[Table]
    resource_type: int = _integer(key=True)
    project: str = _text(key=True)
    domain: str = _text(key=True)
    name: str = _text(key=True)


class Launch(Base, table=True):
    """Ours: an execution that an engine has to run; committed with the execution's row, gone when it has ended.

    owner: the engine process that runs it, NULL when nobody does. leased_until: when the owner counts as dead.
    config: admin.WorkflowExecutionConfig that it was launched with, of which the spec keeps only a part.
    home: <host><path of FLYTEADMIN_HOME> below which its attempts lie, NULL before it is begun.
    """

    __tablename__ = "launches"
    execution_project: str = _text(key=True)
    execution_domain: str = _text(key=True)
    execution_name: str = _text(key=True)
    owner: str | None = _text()
    leased_until: datetime | None = Field(sa_type=UtcTime)
    config: bytes | None = _bytes()
    home: str | None = _text()


class CatalogArtifact(Base, table=True):
    """Ours: outputs of a task that other executions may take over; upstream keeps these in a service of its own.

    The key is that of a core.CatalogMetadata. output_uri: outputs.pb of the attempt that produced them; digest: SHA-256
    of what it held. task_version, execution_*, node_id, retry_attempt: that attempt, whose task has project, domain and
    name of the dataset.
    """

    __tablename__ = "catalog_artifacts"
    dataset_project: str = _text(key=True)
    dataset_domain: str = _text(key=True)
    dataset_name: str = _text(key=True)
    dataset_version: str = _text(key=True)
    tag: str = _text(key=True)
    artifact_id: str = _text(nullable=False)
    output_uri: str = _text(nullable=False)
    digest: bytes = _bytes(nullable=False)
    task_version: str = _text(nullable=False)
    execution_project: str = _text(nullable=False)
    execution_domain: str = _text(nullable=False)
    execution_name: str = _text(nullable=False)
    node_id: str = _text(nullable=False)
    retry_attempt: int = _integer(nullable=False)


class CatalogReservation(Base, table=True):
    """Ours: who produces the outputs of a key while others wait for them. It holds as long as its node runs.

    owner: what of the node it is, "" for the node itself, or the index of an array.
    """

    __tablename__ = "catalog_reservations"
    dataset_project: str = _text(key=True)
    dataset_domain: str = _text(key=True)
    dataset_name: str = _text(key=True)
    dataset_version: str = _text(key=True)
    tag: str = _text(key=True)
    execution_project: str = _text(nullable=False)
    execution_domain: str = _text(nullable=False)
    execution_name: str = _text(nullable=False)
    node_id: str = _text(nullable=False)
    owner: str = _text(nullable=False)


class Lease(Base, table=True):
    """Ours: work that one server process does at a time, by name; app/runtime/leases.py describes its columns."""

    __tablename__ = "leases"
    name: str = _text(key=True)
    owner: str | None = _text()
    leased_until: datetime | None = Field(sa_type=UtcTime)


class SharedValue(Base, table=True):
    """Ours: a value that all servers of the database share (app/server/installation.py).

    name: storage_id (the id that the storage carries too) or link_key (signs storage addresses, in hex).
    """

    __tablename__ = "shared_values"
    name: str = _text(key=True)
    value: str = _text(nullable=False)


def table(model: type[Base]) -> Table:
    """The SQLAlchemy table of a model: queries select its columns, never entities."""
    return model.__table__
