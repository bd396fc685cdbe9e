"""One attempt of a task: what it is to run, the process that runs it, and the ways in which it can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flyteidl.core import dynamic_job_pb2, execution_pb2, identifier_pb2, literals_pb2, tasks_pb2

BUILD_FAILURE = "FailedToBuildResource"
STORAGE_FAILURE = "StorageUnavailable"
_BUILD_MESSAGE = "could not build resource for task: "


class CannotBuild(Exception):
    """The attempt can never run as it is described: permanent, and there is no process to wait for.

    # Parity: the code and the first words are those of PluginManager.launchResource, with plugin errors in brackets.
    """

    def __init__(self, reason: str) -> None:
        self.error = execution_pb2.ExecutionError(
            code=BUILD_FAILURE, message=_BUILD_MESSAGE + reason, kind=execution_pb2.ExecutionError.USER
        )
        super().__init__(self.error.message)


def bad_task(reason: str) -> CannotBuild:
    """The task template cannot be run on this machine."""
    return CannotBuild(f"[BadTaskSpecification] {reason}")


class StartFailed(Exception):
    """This machine could not start the process now (no memory, no descriptors, a full disk): a system failure."""

    def __init__(self, reason: str) -> None:
        self.failed = Failed(
            execution_pb2.ExecutionError(
                code="StartFailed",
                message=f"the process of the task could not be started: {reason}",
                kind=execution_pb2.ExecutionError.SYSTEM,
            ),
            retryable=True,
        )
        super().__init__(self.failed.error.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAttempt:
    """Everything a process of one attempt is made from; a restarted server builds an equal one.

    directory: private to the attempt, on this machine. Prefixes have no trailing slash. array_index: None outside maps.
    checkpoint_prefix: below raw_output_prefix. prev_checkpoint: "" when there is none to go on from.
    given_prefix: what the command is told instead of output_prefix, "" for the same.
    platform: variables that tell a task where this server listens (eager tasks need them).
    """

    execution: identifier_pb2.WorkflowExecutionIdentifier
    workflow_name: str
    task: tasks_pb2.TaskTemplate
    node_unique_id: str
    attempt: int
    generated_name: str
    directory: Path
    input_uri: str
    output_prefix: str
    raw_output_prefix: str
    checkpoint_prefix: str
    prev_checkpoint: str = ""
    envs: Mapping[str, str] = field(default_factory=dict)
    array_index: int | None = None
    namespace: str = ""
    console_url: str = ""
    given_prefix: str = ""
    platform: Mapping[str, str] = field(default_factory=dict)

    @property
    def log_path(self) -> Path:
        """What the attempt prints, while it prints it."""
        return self.directory / "log"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command ready to start.

    Attributes:
        program: The file to execute.
        flytekit: Whether the command is one of flytekit's, which forkserver/child.py runs, if possible forked.
        image: The image that the task names.
        files: Contents of files that the attempt finds in its folder, by their paths.
    """

    run: TaskAttempt
    program: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    flytekit: bool
    image: str
    files: Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Supervised:
    """The supervisor of a started attempt; stamp tells it from a later process with the same pid."""

    pid: int
    stamp: str


@dataclass(frozen=True, slots=True)
class RunningAttempt(Supervised):
    """A started attempt, whoever started it. task_pid: the task's, also its process group. started_at: since 1970."""

    run: TaskAttempt
    task_pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Succeeded:
    """outputs: empty where the task declares none. deck_uri: "" where there is no deck."""

    output_uri: str
    outputs: literals_pb2.LiteralMap
    deck_uri: str = ""


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The task asks for more nodes instead of giving outputs."""

    futures_uri: str
    spec: dynamic_job_pb2.DynamicJobSpec
    deck_uri: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """retryable: whether a budget may be spent on it; which of the two budgets is what `system` says.

    late: the engine ended the attempt at its timeout. reported: the error is one that the task wrote down itself.
    of_storage: the object store was unavailable while the attempt ran, so no budget is spent.
    """

    error: execution_pb2.ExecutionError
    retryable: bool
    deck_uri: str = ""
    late: bool = False
    reported: bool = False
    of_storage: bool = False

    @property
    def system(self) -> bool:
        return bool(self.error.kind == execution_pb2.ExecutionError.SYSTEM)


def storage_failure(failed: Failed, reason: str) -> Failed:
    """Return the failure of an attempt during which the object store was unavailable.

    Args:
        failed: How the attempt failed, as its process or its error document says.
        reason: How the store failed.
    """
    message = (
        f"the object store was unavailable while the attempt ran, so it costs no retry: {reason}. "
        f"Error of the attempt: [{failed.error.code}] {failed.error.message}"
    )
    error = execution_pb2.ExecutionError(
        code=STORAGE_FAILURE, message=message, kind=execution_pb2.ExecutionError.SYSTEM
    )
    return Failed(error, retryable=True, deck_uri=failed.deck_uri, of_storage=True)


@dataclass(frozen=True, slots=True)
class Killed:
    """The engine ordered the end: an abort or a timeout, of this server or of one before it."""


Outcome = Succeeded | Dynamic | Failed | Killed
