"""All tables, with the columns of flyteadmin v1.16.8 (docs/decisions/0002) and some tables of our own.

Messages are stored as protobuf bytes, with copies of the fields that filters and sorts need in columns of their own.

Keys are declared as on PostgreSQL: the primary key is the identifier, and `id` comes from a sequence and has an index.
On SQLite `id` is the INTEGER PRIMARY KEY, and the identifier has a unique index with the name `<table>_pkey`
(alembic/versions/0001). There are no relationships and no foreign keys, as in upstream.

Source:
    flyteadmin/pkg/repositories/models
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import TIMESTAMP, BigInteger, Column, Integer, LargeBinary, String, Table, Text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


def _as_text(value: datetime | None) -> str | None:
    """Return a datetime as the text that SQLite stores."""
    if value is None:
        return None
    # strftime writes years before 1000 with fewer digits, which breaks the order and cannot be parsed.
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(" ", "microseconds")


class UtcTime(TypeDecorator[datetime]):
    """A point in time: timestamptz on PostgreSQL, text of fixed width on SQLite, whose order is that of time."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the column type of a dialect."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else TIMESTAMP(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the conversion of parameters; None on PostgreSQL, whose driver takes datetimes."""
        # TypeDecorator's own processor calls process_bind_param through two more functions.
        return _as_text if dialect.name == "sqlite" else None

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        """Return the conversion of results; None on PostgreSQL, whose driver returns datetimes."""
        return super().result_processor(dialect, coltype) if dialect.name == "sqlite" else None

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert a datetime to the text that SQLite stores."""
        return _as_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert the text that SQLite stores to a datetime."""
        return None if value is None else datetime.fromisoformat(value)


def text_column(*, key: bool = False, nullable: bool = True, length: int | None = None) -> Any:
    """Return a text column. length: the largest number of characters, None for any."""
    kind = String(length) if length else Text()
    return Field(sa_column=Column(kind, primary_key=key, nullable=nullable and not key))


def _integer(*, key: bool = False, nullable: bool = True, default: str | None = None) -> Any:
    return Field(sa_column=Column(Integer, primary_key=key, nullable=nullable and not key, server_default=default))


def _bigint(*, key: bool = False) -> Any:
    return Field(sa_column=Column(BigInteger, primary_key=key, nullable=not key))


def _bytes(*, nullable: bool = True) -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=nullable))


class Base(SQLModel):
    """The columns of every table; deleted_at exists for upstream only and is always NULL."""

    __table__: ClassVar[Table]

    id: int = Field(sa_type=BigInteger, nullable=False, index=True)
    created_at: datetime | None = Field(sa_type=UtcTime)
    updated_at: datetime | None = Field(sa_type=UtcTime)
    deleted_at: datetime | None = Field(sa_type=UtcTime, index=True)


class Project(Base, table=True):
    """A project.

    Attributes:
        labels: A serialized admin.Project of which only the labels are used, or NULL.
    """

    __tablename__ = "projects"
    identifier: str = text_column(key=True)
    name: str | None = text_column()
    description: str | None = text_column(length=300)
    labels: bytes | None = _bytes()
    state: int | None = _integer(default="0")


class Task(Base, table=True):
    """A version of a task.

    Attributes:
        closure: An admin.TaskClosure.
        digest: Digest of the core.CompiledTask.
    """

    __tablename__ = "tasks"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    closure: bytes = _bytes(nullable=False)
    digest: bytes | None = _bytes()
    type: str | None = text_column()
    short_description: str | None = text_column()


class Workflow(Base, table=True):
    """A version of a workflow.

    Attributes:
        typed_interface: The submitted core.TypedInterface.
        remote_closure_identifier: URI of the object with the admin.WorkflowClosure.
    """

    __tablename__ = "workflows"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    typed_interface: bytes | None = _bytes()
    remote_closure_identifier: str = text_column(nullable=False)
    digest: bytes | None = _bytes()
    short_description: str | None = text_column()


class LaunchPlan(Base, table=True):
    """A version of a launch plan.

    Attributes:
        spec: An admin.LaunchPlanSpec.
        closure: An admin.LaunchPlanClosure without state and times.
        state: 1 is ACTIVE.
    """

    __tablename__ = "launch_plans"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    spec: bytes = _bytes(nullable=False)
    workflow_id: int | None = _bigint()
    closure: bytes = _bytes(nullable=False)
    state: int | None = _integer(default="0")
    digest: bytes | None = _bytes()
    schedule_type: str | None = text_column()
    launch_condition_type: str | None = text_column(length=32)


class NamedEntityMetadata(Base, table=True):
    """Description and state of a (resource type, project, domain, name); no row means "" and ACTIVE."""

    __tablename__ = "named_entity_metadata"
    resource_type: int = _integer(key=True)
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    description: str | None = text_column(length=300)
    state: int | None = _integer(default="0")


class DescriptionEntity(Base, table=True):
    """Documentation of a version.

    Attributes:
        long_description: An admin.Description.
    """

    __tablename__ = "description_entities"
    resource_type: int = _integer(key=True)
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    short_description: str | None = text_column()
    long_description: bytes | None = _bytes()
    link: str | None = text_column()


class Resource(Base, table=True):
    """Matchable attributes; unused parts of the key are "".

    Attributes:
        resource_type: Name in admin.MatchableResource.
        attributes: An admin.MatchingAttributes.
    """

    __tablename__ = "resources"
    id: int = _bigint(key=True)
    project: str | None = text_column()
    domain: str | None = text_column()
    workflow: str | None = text_column()
    launch_plan: str | None = text_column()
    resource_type: str | None = text_column()
    priority: int | None = _integer()
    attributes: bytes | None = _bytes()


class Execution(Base, table=True):
    """An execution.

    Attributes:
        spec: An admin.ExecutionSpec.
        closure: An admin.ExecutionClosure.
        phase: Name in core.WorkflowExecution.Phase.
        duration: In nanoseconds.
    """

    __tablename__ = "executions"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    launch_plan_id: int | None = _bigint()
    workflow_id: int | None = _bigint()
    task_id: int | None = _bigint()
    phase: str | None = text_column()
    closure: bytes | None = _bytes()
    spec: bytes = _bytes(nullable=False)
    started_at: datetime | None = Field(sa_type=UtcTime)
    execution_created_at: datetime | None = Field(sa_type=UtcTime)
    execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()
    abort_cause: str | None = text_column()
    mode: int | None = _integer()
    source_execution_id: int | None = _bigint()
    parent_node_execution_id: int | None = _bigint()
    cluster: str | None = text_column()
    inputs_uri: str | None = text_column()
    user_inputs_uri: str | None = text_column()
    error_kind: str | None = text_column()
    error_code: str | None = text_column()
    user: str | None = text_column()
    state: int | None = _integer(default="0")
    launch_entity: str | None = text_column()


class ExecutionTag(Base, table=True):
    """A label (key, value) or a tag (key, "") of an execution."""

    __tablename__ = "execution_tags"
    execution_project: str = text_column(key=True, length=255)
    execution_domain: str = text_column(key=True, length=255)
    execution_name: str = text_column(key=True, length=255)
    key: str = text_column(key=True, length=255)
    value: str = text_column(key=True, length=255)


class ExecutionEvent(Base, table=True):
    """An accepted workflow event; engine and operators read it, the API does not."""

    __tablename__ = "execution_events"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    request_id: str | None = text_column()
    occurred_at: datetime | None = Field(sa_type=UtcTime)
    phase: str = text_column(key=True)


class NodeExecution(Base, table=True):
    """A node of an execution.

    Attributes:
        closure: An admin.NodeExecutionClosure.
        node_execution_metadata: An admin.NodeExecutionMetaData.
        duration: In nanoseconds.
    """

    __tablename__ = "node_executions"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    node_id: str = text_column(key=True)
    phase: str | None = text_column()
    input_uri: str | None = text_column()
    closure: bytes | None = _bytes()
    started_at: datetime | None = Field(sa_type=UtcTime)
    node_execution_created_at: datetime | None = Field(sa_type=UtcTime)
    node_execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()
    parent_task_execution_id: int | None = _bigint()
    dynamic_workflow_remote_closure_reference: str | None = text_column()
    internal_data: bytes | None = _bytes()
    node_execution_metadata: bytes | None = _bytes()
    parent_id: int | None = _bigint()
    error_kind: str | None = text_column()
    error_code: str | None = text_column()
    cache_status: str | None = text_column()


class NodeExecutionEvent(Base, table=True):
    """An accepted node event."""

    __tablename__ = "node_execution_events"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    node_id: str = text_column(key=True)
    request_id: str | None = text_column()
    occurred_at: datetime | None = Field(sa_type=UtcTime)
    phase: str = text_column(key=True)


class TaskExecution(Base, table=True):
    """An attempt of a task.

    Attributes:
        closure: An admin.TaskExecutionClosure.
        duration: In nanoseconds.
    """

    __tablename__ = "task_executions"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    node_id: str = text_column(key=True)
    retry_attempt: int = _bigint(key=True)
    phase: str | None = text_column()
    phase_version: int | None = _bigint()
    input_uri: str | None = text_column()
    closure: bytes | None = _bytes()
    started_at: datetime | None = Field(sa_type=UtcTime)
    task_execution_created_at: datetime | None = Field(sa_type=UtcTime)
    task_execution_updated_at: datetime | None = Field(sa_type=UtcTime)
    duration: int | None = _bigint()


class Signal(Base, table=True):
    """A signal for a gate node.

    Attributes:
        type: A core.LiteralType.
        value: A core.Literal, NULL until it is set.
    """

    __tablename__ = "signals"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    signal_id: str = text_column(key=True)
    type: bytes = _bytes(nullable=False)
    value: bytes | None = _bytes()


class SchedulableEntity(Base, table=True):
    """The schedule of a launch plan version, which runs while it is active.

    Attributes:
        unit: 0 minute, 1 hour, 2 day.
    """

    __tablename__ = "schedulable_entities"
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)
    version: str = text_column(key=True)
    cron_expression: str | None = text_column()
    fixed_rate_value: int | None = _bigint()
    unit: int | None = _integer()
    kickoff_time_input_arg: str | None = text_column()
    active: bool | None = None


class ScheduleEntitiesSnapshot(Base, table=True):
    """The last runs of all schedules, as the scheduler stores them."""

    __tablename__ = "schedule_entities_snapshots"
    id: int = _bigint(key=True)
    snapshot: bytes | None = _bytes()


class RegisteredName(SQLModel, table=True):
    """Our own table: a name with at least one version. Triggers write its rows (alembic/versions/0007).

    Attributes:
        resource_type: TASK, WORKFLOW or LAUNCH_PLAN of core.ResourceType.
    """

    __tablename__ = "registered_names"
    __table__: ClassVar[Table]
    resource_type: int = _integer(key=True)
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    name: str = text_column(key=True)


class Launch(Base, table=True):
    """Our own table: an execution for an engine. It is committed with the execution's row and deleted at its end.

    Attributes:
        owner: The engine process that runs the execution, NULL for none.
        leased_until: When the owner's lease ends; then another process may take the execution.
        config: The admin.WorkflowExecutionConfig of the launch, of which the spec keeps only a part.
        home: <host><path of FLYTEADMIN_HOME> that holds the folders of the attempts, NULL before the start.
        next_try_at: When the Kubernetes engine works on the execution again, NULL while nothing is to be done.
        tries: Failed calls to Kubernetes since the last success.
        problem: The error of the last failed call.
        placed_at: When Kubernetes had the object of the execution, NULL before.
        removed_at, object_uid: When Kubernetes accepted the deletion of the object; its uid, NULL where not known.
    """

    __tablename__ = "launches"
    execution_project: str = text_column(key=True)
    execution_domain: str = text_column(key=True)
    execution_name: str = text_column(key=True)
    owner: str | None = text_column()
    leased_until: datetime | None = Field(sa_type=UtcTime)
    config: bytes | None = _bytes()
    home: str | None = text_column()
    next_try_at: datetime | None = Field(sa_type=UtcTime)
    tries: int | None = _integer()
    problem: str | None = text_column()
    placed_at: datetime | None = Field(sa_type=UtcTime)
    removed_at: datetime | None = Field(sa_type=UtcTime)
    object_uid: str | None = text_column()


class CatalogReservation(Base, table=True):
    """Our own table: the owner that computes the outputs of a key while others wait (app/services/catalog).

    Attributes:
        owner: "" for the node itself, or the index in an array node; the owner's id of a client of DataCatalog, whose
            other columns are empty.
        expires_at: The end of a client's reservation; None for a node of the local engine, which has it while it runs.
    """

    __tablename__ = "catalog_reservations"
    dataset_project: str = text_column(key=True)
    dataset_domain: str = text_column(key=True)
    dataset_name: str = text_column(key=True)
    dataset_version: str = text_column(key=True)
    tag: str = text_column(key=True)
    execution_project: str = text_column(nullable=False)
    execution_domain: str = text_column(nullable=False)
    execution_name: str = text_column(nullable=False)
    node_id: str = text_column(nullable=False)
    owner: str = text_column(nullable=False)
    expires_at: datetime | None = Field(sa_type=UtcTime)


class Lease(Base, table=True):
    """Our own table: work that one server process does at a time, by name; app/runtime/leases.py uses it."""

    __tablename__ = "leases"
    name: str = text_column(key=True)
    owner: str | None = text_column()
    leased_until: datetime | None = Field(sa_type=UtcTime)


class SharedValue(Base, table=True):
    """Our own table: a value that all servers of the database share (app/server/installation.py).

    Attributes:
        name: storage_id (the id that is also stored in the storage) or link_key (signs URLs of objects, in hex).
    """

    __tablename__ = "shared_values"
    name: str = text_column(key=True)
    value: str = text_column(nullable=False)


def table(model: type[Base]) -> Table:
    """Return the SQLAlchemy table of a model. Queries select columns of the table, not model instances."""
    return model.__table__
