"""One attempt of a task: its description, its process, and its possible outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flyteidl.core import dynamic_job_pb2, execution_pb2, identifier_pb2, literals_pb2, tasks_pb2

from app.engine.local.processes.environments.choice import Choice
from app.engine.local.processes.folders import LOG
from app.engine.local.processes.pool.process_pool import RunningProcess
from app.engine.local.processes.pool.spec import ProcessSpec

BUILD_FAILURE = "FailedToBuildResource"
STORAGE_FAILURE = "StorageUnavailable"
_BUILD_MESSAGE = "could not build resource for task: "


class CannotBuild(Exception):
    """No attempt of the task can ever start: its description, a secret or the environment is at fault.

    # Parity: PluginManager.launchResource has this code and these first words, with plugin errors in brackets.
    """

    def __init__(self, reason: str) -> None:
        self.error = execution_pb2.ExecutionError(
            code=BUILD_FAILURE, message=_BUILD_MESSAGE + reason, kind=execution_pb2.ExecutionError.USER
        )
        super().__init__(self.error.message)


def bad_task(reason: str) -> CannotBuild:
    """Return the error for a task template that cannot run on this machine."""
    return CannotBuild(f"[BadTaskSpecification] {reason}")


class StartFailed(Exception):
    """The operating system refused to start the process (memory, descriptors, disk).

    The failure counts against the system retry budget.
    """

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
    """The description of one attempt. A restarted server builds an equal description and adopts its process.

    Attributes:
        execution: The execution.
        workflow_name: The name of its workflow.
        task: The template of the task.
        node_unique_id: The id of the node in the execution.
        attempt: The number of the attempt, from 0.
        generated_name: The name that upstream gives to the pod of the attempt.
        directory: The private directory of the attempt on this machine.
        input_uri: The file with the inputs.
        output_prefix: The folder for outputs. No prefix has a trailing slash.
        raw_output_prefix: The folder for files and tables that outputs refer to.
        checkpoint_prefix: The folder for checkpoints, below `raw_output_prefix`.
        prev_checkpoint: The checkpoint folder of the attempt before; "" for none.
        envs: Environment variables of the execution.
        array_index: The index of an element of a map task; None for other tasks.
        namespace: The namespace that upstream would use.
        console_url: The address of the console; "" for none.
        given_prefix: The output folder that the command gets if it is not `output_prefix`; "" otherwise.
        platform: Variables through which a task finds this server.
        principal: The principal of the execution, whom the token of the task names.
        execution_identity: The execution identity of the execution.
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
    principal: str = ""
    execution_identity: str = ""

    @property
    def log_path(self) -> Path:
        """Return the path of the log, which receives the output of the process while it runs."""
        return self.directory / LOG


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An attempt that is ready to start.

    Attributes:
        attempt: The attempt.
        spec: Its process.
        data_config: The configuration of the copilot, for a raw container that uses it.
        choice: How its environment was chosen.
        notices: Notices to the user about its environment and its kind.
    """

    attempt: TaskAttempt
    spec: ProcessSpec
    data_config: tasks_pb2.DataLoadingConfig | None
    choice: Choice
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningAttempt(RunningProcess):
    """An attempt whose process was started, by this server or an earlier one."""

    attempt: TaskAttempt


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt succeeded.

    Attributes:
        output_uri: The file with the outputs.
        outputs: The outputs; empty for a task that declares none.
        deck_uri: The deck of the attempt; "" for none.
    """

    output_uri: str
    outputs: literals_pb2.LiteralMap
    deck_uri: str = ""


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The process of a dynamic task ended with a request to run more nodes.

    Attributes:
        futures_uri: The file with the request.
        spec: The nodes.
        deck_uri: The deck of the attempt; "" for none.
    """

    futures_uri: str
    spec: dynamic_job_pb2.DynamicJobSpec
    deck_uri: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed.

    Attributes:
        error: The error; its kind decides which retry budget is used (`system`).
        retryable: Whether another attempt may follow.
        deck_uri: The deck of the attempt; "" for none.
        timed_out: Whether the engine ended the attempt at its timeout.
        reported: Whether the task wrote the error itself.
        of_storage: Whether the object store was unavailable while the attempt ran. The first ten such failures of a
            node use no retry.
    """

    error: execution_pb2.ExecutionError
    retryable: bool
    deck_uri: str = ""
    timed_out: bool = False
    reported: bool = False
    of_storage: bool = False

    @property
    def system(self) -> bool:
        """Return whether the failure counts against the system retry budget, not against the user's."""
        return bool(self.error.kind == execution_pb2.ExecutionError.SYSTEM)


def storage_failure(failed: Failed, reason: str) -> Failed:
    """Return the failure of an attempt during which the object store was unavailable.

    Args:
        failed: The failure that the process or its error document reports.
        reason: The error of the store.
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
    """The attempt was ended for an abort or a timeout, by this server or an earlier one."""


Outcome = Succeeded | Dynamic | Failed | Killed
