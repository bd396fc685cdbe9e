"""Replies of this server's own routes, and bodies that no page has a model of: the source of `own_document.py`.

Times are texts in RFC 3339. The pages build their replies as dictionaries; tests compare these with the models.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Model(BaseModel):
    """Part of a reply: all fields are present, and there are no others."""

    model_config = ConfigDict(extra="forbid")


class Environment(Model):
    """An environment of tasks. default: whether tasks without an image run in it. used_at: the last start of a task.

    progress: the installer's last line. notices: parts of images that have no effect on this machine.
    """

    id: str
    state: Literal["making", "ready", "failed"]
    default: bool
    path: str
    python: str
    image: str
    requirements: list[str]
    packages: list[str]
    size_bytes: int
    started_at: AwareDatetime | None
    made_at: AwareDatetime | None
    used_at: AwareDatetime | None
    reason: str
    progress: str
    notices: list[str]


class Environments(Model):
    """The environments of the machine that replies."""

    environments: list[Environment]


class CachedOutput(Model):
    """Cached outputs and the attempt that produced them. version: the cache version that the task declares."""

    task: str
    version: str
    tag: str
    execution: str
    node: str
    attempt: int
    updated_at: AwareDatetime


class CachedOutputs(Model):
    """A page of cached outputs."""

    entries: list[CachedOutput]
    token: str


class DeletedOutputs(Model):
    """The number of deleted entries. more: whether another call is needed."""

    deleted: int
    more: bool


class EnvironmentLog(Model):
    """The end of the output of the installer."""

    log: str


class ConnectorType(Model):
    """A type of tasks that a service runs. sync: it replies with the outputs."""

    name: str
    version: int
    sync: bool


class ConnectorService(Model):
    """A service. id: "" for the default one. answered_at: the last answer to ListAgents. problem: why it runs none."""

    plugin: str
    id: str
    endpoint: str
    types: list[ConnectorType]
    answered_at: AwareDatetime | None
    problem: str
    calls: int
    failed_calls: int


class Connectors(Model):
    """The services of the process that replies, and the number of its tasks that they run."""

    services: list[ConnectorService]
    open_tasks: int


class Paused(Model):
    """Why a schedule is paused, by whom, and since when."""

    reason: str | None
    by: str | None
    at: AwareDatetime | None


class LastSlot(Model):
    """The newest slot that was decided. execution: that of the newest launched slot."""

    slot: AwareDatetime
    execution: str
    outcome: Literal["launched", "skipped", "missed", "failed"]


class Counts(Model):
    """The slots of a schedule by outcome."""

    launched: int
    missed: int
    skipped: int
    failed: int


class Problem(Model):
    """Why a schedule cannot launch. code: a gRPC code."""

    code: int
    message: str
    since: AwareDatetime | None


class ScheduleOptions(Model):
    """The choices of a schedule, from the annotations of its launch plan."""

    overlap: Literal["allow", "skip", "buffer-one", "replace"]
    catch_up: Literal["all", "last", "none"]
    catch_up_seconds: float | None
    jitter_seconds: float
    dst: str
    pause_after: int


class Schedule(Model):
    """A schedule with its state. never: it is active and has no further slot. next: the following slots."""

    project: str
    domain: str
    name: str
    version: str
    expression: str
    zone: str
    kickoff_input: str
    active: bool
    paused: Paused | None
    last: LastSlot | None
    next: list[AwareDatetime]
    never: bool
    counts: Counts
    problem: Problem | None
    options: ScheduleOptions
    warnings: list[str]
    activated_by: str


class Schedules(Model):
    """A page of schedules. token: of the next page, "" for none. tzdata: the version of the time zones."""

    schedules: list[Schedule]
    token: str
    tzdata: str


class Nothing(Model):
    """An empty object."""


class Launched(Model):
    """The name of the execution."""

    execution: str


class BackfillSlot(Model):
    """A past slot and what became of it."""

    slot: AwareDatetime
    execution: str
    outcome: Literal["exists", "would launch", "launched"]


class BackfillSlots(Model):
    """The slots of a time, in their order."""

    slots: list[BackfillSlot]


class ExecutionName(Model):
    """An execution."""

    project: str
    domain: str
    name: str


class DeliveryState(Model):
    """A message about an execution. next_at: the next attempt of a pending message."""

    id: str
    target: str
    kind: str
    recipient: str
    execution: ExecutionName
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: AwareDatetime
    next_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    reply: str
    reason: str


class Deliveries(Model):
    """A page of messages, the newest first. token: of the next page, "" for none."""

    deliveries: list[DeliveryState]
    token: str


class TargetState(Model):
    """A kind of receiver. problem: why it cannot be used now, "" where it can."""

    name: str
    problem: str


class Targets(Model):
    """The kinds of receivers of the process that replies."""

    targets: list[TargetState]


class TrialOutcome(Model):
    """How the receiver of a test message replied."""

    delivered: bool
    reply: str
    reason: str
    conversation: list[str]


class RoleBinding(Model):
    """A role of a member in a place; `*` is every project or domain."""

    role: str
    project: str
    domain: str
    member_kind: str = "subject"
    member: str


class ShownBinding(RoleBinding):
    """A binding and where it stands."""

    source: Literal["settings", "database"]


class RoleBindings(Model):
    """A page of bindings. token: of the next page, "" for none."""

    roles: list[ShownBinding]
    token: str


class Grant(Model):
    """The highest role in a place; project and domain are patterns."""

    role: str
    project: str
    domain: str


class Grants(Model):
    """The roles of the caller. enabled: false where roles are off, and every caller may do everything."""

    enabled: bool
    grants: list[Grant]


class Error(BaseModel):
    """An error. code: a gRPC code."""

    code: int
    message: str
