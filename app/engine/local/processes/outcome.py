"""The outcome of an attempt, from the exit of its process and the files in its output folder.

If the process exited with code 0, its files decide, in a fixed order; otherwise the exit alone decides.
Proto: flyteidl/core/errors.proto, execution.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from flyteidl.core import dynamic_job_pb2, errors_pb2, execution_pb2, literals_pb2
from google.protobuf.message import DecodeError, Message

from app.blobs import BlobMissing, BlobOutside, Blobs, BlobTooLarge, BlobUnreadable
from app.engine.local.processes import decks
from app.engine.local.processes.commands import container_of
from app.engine.local.processes.pool.supervisor_connection import ExitRecord
from app.engine.local.processes.task_attempt import (
    CannotBuild,
    Dynamic,
    Failed,
    Killed,
    Outcome,
    Succeeded,
    TaskAttempt,
    bad_task,
)
from app.services.literal_limits import SETTING

_Kind = execution_pb2.ExecutionError
_LOG_LINES = 80
# The error of flytekit's client when the server does not answer.
_UNREACHABLE = "FlyteSystemUnavailableException: "
_SETTING = "FLYTEADMIN__ENGINE__LOCAL__"

_Document = TypeVar("_Document", bound=Message)


class _Malformed(Exception):
    """A file of the task does not hold the expected message, is too large, or is not a regular file."""

    def __init__(self, reason: str, *, too_large: bool = False, no_file: bool = False) -> None:
        self.too_large = too_large
        self.no_file = no_file
        super().__init__(reason)


def exited_well(ended: ExitRecord) -> bool:
    """Return whether the process exited with code 0 and was not killed."""
    return not ended["reason"] and ended["code"] == 0


async def read(attempt: TaskAttempt, ended: ExitRecord | None, blobs: Blobs, *, bytes_max: int) -> Outcome:
    """Return the outcome of an attempt whose process has ended.

    Args:
        attempt: The attempt.
        ended: The exit record of its process; None if there is none.
        blobs: The store with the files of the attempt.
        bytes_max: The size limit of these files.

    Raises:
        BlobError: The store cannot be read, so the outcome is not known.
    """
    if ended is None:
        return _lost(attempt)
    if ended["reason"] == "terminated":
        return Killed()
    if "exec_error" in ended:
        return Failed(bad_task(str(ended["exec_error"])).error, retryable=False)
    deck_uri = await _deck(attempt, blobs)
    if not exited_well(ended):
        return _from_exit(attempt, ended, deck_uri)
    return await _from_files(attempt, blobs, bytes_max, deck_uri)


def _lost(attempt: TaskAttempt) -> Failed:
    # Parity: upstream reports a system failure if a pod has disappeared (PluginManager.checkResourcePhase).
    return _failed(
        "ResourceDeletedExternally",
        f"the process of [{attempt.generated_name}] is gone and left no exit status: it was killed together with its "
        "supervisor, or the machine was restarted",
        _Kind.SYSTEM,
    )


async def _deck(attempt: TaskAttempt, blobs: Blobs) -> str:
    return await decks.first_of(blobs, decks.uri_of(attempt.output_prefix))


def _from_exit(attempt: TaskAttempt, ended: ExitRecord, deck_uri: str) -> Failed:
    if ended["reason"] == "memory":
        used, limit = (ended[name] / 1024**2 for name in ("memory_bytes", "memory_bytes_max"))
        # The cause is the last line, which lists and clients show, and not the end of the log.
        message = (
            f"[{_container_name(attempt)}] terminated with exit code (137). Reason [OOMKilled]. Message: \n"
            f"{str(ended['tail']).strip()}\n"
            f"Killed: it used {used:.0f} MiB of memory; the limit of the task is {limit:.0f} MiB"
        )
        return _failed("OOMKilled", message, _Kind.USER, deck_uri)
    if ended["reason"]:
        code, message = _LIMITS[ended["reason"]](ended)
        return _failed(code, f"[{_container_name(attempt)}] {message}", _Kind.USER, deck_uri, retryable=False)
    number, killed_by = ended["code"], ended["signal"]
    shown = number if killed_by is None else 128 + killed_by
    by_force = killed_by == 9 or number == 137
    if by_force and ended["oom"]:
        return _killed_by_kernel(attempt, ended, deck_uri)
    if by_force:
        code, kind = "Interrupted", _Kind.SYSTEM
    else:
        code, kind = "Error", _Kind.USER
    # Parity: flytek8s.DemystifyFailure, which shows the end of the log as the container's message.
    message = (
        f"\r\n[{_container_name(attempt)}] terminated with exit code ({shown}). Reason [Error]. Message: \n"
        f"{_end_of_log(ended)}."
    )
    return _failed(code, message, kind, deck_uri)


def _killed_by_kernel(attempt: TaskAttempt, ended: ExitRecord, deck_uri: str) -> Failed:
    """Return the failure of a task that the kernel has killed for lack of memory. Its last line is the cause."""
    # Records of earlier versions have no figure.
    peak, limit = ended.get("peak_bytes", 0), ended.get("memory_bytes_max", 0)
    figures = f"; it used up to {peak / 1024**2:.0f} MiB" if peak else ""
    figures += f"; the limit of the task is {limit / 1024**2:.0f} MiB" if limit else ""
    message = (
        f"\r\n[{_container_name(attempt)}] terminated with exit code (137). Reason [OOMKilled]. Message: \n"
        f"{_end_of_log(ended).strip()}\n"
        f"Killed by the system, whose memory, or that of the server's group of processes, ran out{figures}"
    )
    return _failed("OOMKilled", message, _Kind.USER, deck_uri)


def _end_of_log(ended: ExitRecord) -> str:
    lines = "\n".join(str(ended["tail"]).splitlines()[-_LOG_LINES:])
    return f"{lines}\nthe log could not be written: {ended['log_error']}" if ended["log_error"] else lines


_LIMITS: Mapping[str, Callable[[ExitRecord], tuple[str, str]]] = {
    "printed": lambda ended: (
        "LogLimitExceeded",
        f"was ended because it printed more than is allowed: {ended['printed_bytes']} bytes. "
        f"The limit is {_SETTING}PRINTED_BYTES_MAX",
    ),
    "disk": lambda ended: (
        "DiskFull",
        f"was ended because it filled the disk: less than {_SETTING}FREE_BYTES_MIN was free while its own files "
        "held more than that",
    ),
    "processes": lambda ended: (
        "TooManyProcesses",
        f"was ended because it had too many processes at once. The limit is {_SETTING}TASK_PROCESSES_MAX",
    ),
}


async def _from_files(attempt: TaskAttempt, blobs: Blobs, bytes_max: int, deck_uri: str) -> Outcome:
    failed = await _reported_error(attempt, blobs, bytes_max, deck_uri)
    if failed is not None:
        return failed
    futures_uri, output_uri = f"{attempt.output_prefix}/futures.pb", f"{attempt.output_prefix}/outputs.pb"
    try:
        spec = await _document(blobs, futures_uri, bytes_max, dynamic_job_pb2.DynamicJobSpec)
        if spec is not None:
            return Dynamic(futures_uri, spec, deck_uri)
        # Parity: a task that declares no outputs succeeds whatever it left there (Handler.ValidateOutput).
        if not attempt.task.interface.outputs.variables:
            return Succeeded(output_uri, literals_pb2.LiteralMap(), deck_uri)
        outputs = await _document(blobs, output_uri, bytes_max, literals_pb2.LiteralMap)
    except _Malformed as error:
        if error.too_large:
            message = f"Remote output size exceeds max, err: [{error}]"
            return _failed("OutputSizeExceeded", message, _Kind.UNKNOWN, deck_uri, retryable=False)
        return _failed("OutputsBadFormat", str(error), _Kind.USER, deck_uri)
    if outputs is None:
        return _failed("OutputsNotFound", "Outputs not generated by task execution", _Kind.UNKNOWN, deck_uri)
    lacking = sorted(attempt.task.interface.outputs.variables.keys() - outputs.literals.keys())
    if lacking:
        # Deviates: upstream lets the attempt succeed, and the next node fails on the binding.
        message = (
            f"file @[{output_uri}] lacks the outputs [{', '.join(lacking)}] that task [{attempt.task.id.name}] "
            f"declares; it has [{', '.join(sorted(outputs.literals))}]"
        )
        return _failed("OutputsBadFormat", message, _Kind.USER, deck_uri)
    return Succeeded(output_uri, outputs, deck_uri)


async def _reported_error(attempt: TaskAttempt, blobs: Blobs, bytes_max: int, deck_uri: str) -> Failed | None:
    """Return the error that the task wrote itself; None without one.

    Source: flyteplugins RemoteFileOutputReader.ReadError.
    """
    uri = f"{attempt.output_prefix}/error.pb"
    try:
        document = await _document(blobs, uri, bytes_max, errors_pb2.ErrorDocument)
    except _Malformed as malformed:
        kind = _Kind.USER if malformed.no_file else _Kind.SYSTEM
        return _failed("ErrorFileBadFormat", str(malformed), kind, deck_uri, retryable=not malformed.too_large)
    if document is None:
        return None
    if not document.HasField("error"):
        message = f"error not formatted correctly, nil error @path [{uri}]"
        return _failed("ErrorFileBadFormat", message, _Kind.SYSTEM, deck_uri)
    reported = document.error
    error = execution_pb2.ExecutionError(
        code=reported.code, message=reported.message, kind=reported.origin, worker=reported.worker
    )
    if reported.HasField("timestamp"):
        error.timestamp.CopyFrom(reported.timestamp)
    retryable = reported.kind == errors_pb2.ContainerError.RECOVERABLE
    if attempt.task.metadata.is_eager and _UNREACHABLE in reported.message:
        # Deviates: a restart of this server makes an eager task fail, so the failure counts as one of the system. The
        # next attempt finds the executions that this one launched, because their names are computed from their inputs.
        error.kind, retryable = _Kind.SYSTEM, True
    return Failed(error, retryable, deck_uri, reported=True)


async def _document(blobs: Blobs, uri: str, bytes_max: int, kind: type[_Document]) -> _Document | None:
    """Return the message in a file; None without the file.

    Raises:
        _Malformed: The file cannot be used.
        BlobError: The store cannot be read.
    """
    try:
        data = await blobs.read(uri, bytes_max=bytes_max)
    except BlobMissing:
        return None
    except (BlobUnreadable, BlobOutside) as error:
        if not blobs.in_own_folder(uri):
            raise
        # The task left a pipe, a device, or a link to a file outside the storage.
        raise _Malformed(f"output file @[{uri}] cannot be used: {error.message}", no_file=True) from error
    except BlobTooLarge as error:
        size = await blobs.size(uri)
        reason = f"output file @[{uri}] is too large [{size}] bytes, max allowed [{bytes_max}] bytes ({SETTING})"
        raise _Malformed(reason, too_large=True) from error
    try:
        return kind.FromString(data)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        raise _Malformed(f"file @[{uri}] of [{len(data)}] bytes is not a serialized {name}: {error}") from error


def _failed(
    code: str, message: str, kind: execution_pb2.ExecutionError.ErrorKind, deck_uri: str = "", *, retryable: bool = True
) -> Failed:
    return Failed(execution_pb2.ExecutionError(code=code, message=message, kind=kind), retryable, deck_uri)


def _container_name(attempt: TaskAttempt) -> str:
    try:
        return container_of(attempt.task, attempt.generated_name).name
    except CannotBuild:
        return attempt.generated_name
