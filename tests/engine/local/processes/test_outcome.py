"""The outcome of an attempt for each exit record and each set of output files, with a real store."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import errors_pb2, execution_pb2, identifier_pb2, tasks_pb2, types_pb2

from app.blobs import BlobError, Blobs
from app.engine.local.processes import outcome
from app.engine.local.processes.task_attempt import Dynamic, Failed, Killed, Outcome, Succeeded, TaskAttempt
from app.settings import Settings
from tests.engine.conftest import literal_map

USER, SYSTEM, UNKNOWN = (
    execution_pb2.ExecutionError.USER,
    execution_pb2.ExecutionError.SYSTEM,
    execution_pb2.ExecutionError.UNKNOWN,
)
WELL: dict[str, Any] = {
    "code": 0,
    "signal": None,
    "reason": "",
    "oom": False,
    "printed_bytes": 0,
    "log_error": "",
    "tail": "",
}


class AttemptFiles:
    """An output directory of one attempt whose task declares one integer."""

    def __init__(self, folder: Path, *, declared: bool = True) -> None:
        self.blobs = Blobs(Settings.model_validate({"home": folder, "storage": {"url": str(folder / "store")}}))
        self.outputs = Path(self.blobs.base) / "0"
        self.outputs.mkdir(parents=True)
        task = tasks_pb2.TaskTemplate()
        if declared:
            task.interface.outputs.variables["o0"].type.simple = types_pb2.INTEGER
        self.run = TaskAttempt(
            execution=identifier_pb2.WorkflowExecutionIdentifier(),
            workflow_name="w",
            task=task,
            node_unique_id="n0",
            attempt=0,
            generated_name="pod",
            directory=folder,
            input_uri="",
            output_prefix=str(self.outputs),
            raw_output_prefix="",
            checkpoint_prefix="",
        )

    def read(self, ended: dict[str, Any] | None, bytes_max: int = 1000) -> Outcome:
        return asyncio.run(outcome.read(self.run, ended, self.blobs, bytes_max=bytes_max))

    def failed(self, ended: dict[str, Any] | None, bytes_max: int = 1000) -> Failed:
        read = self.read(ended, bytes_max)
        assert isinstance(read, Failed), read
        return read


@pytest.mark.parametrize(
    ("ended", "code", "kind", "shown"),
    [
        ({"code": 1}, "Error", USER, "exit code (1). Reason [Error]"),
        ({"code": 255}, "Error", USER, "exit code (255). Reason [Error]"),
        ({"code": None, "signal": 15}, "Error", USER, "exit code (143). Reason [Error]"),
        ({"code": None, "signal": 11}, "Error", USER, "exit code (139). Reason [Error]"),
        ({"code": None, "signal": 9}, "Interrupted", SYSTEM, "exit code (137). Reason [Error]"),
        ({"code": 137}, "Interrupted", SYSTEM, "exit code (137). Reason [Error]"),
        ({"code": 1, "oom": True}, "Error", USER, "exit code (1). Reason [Error]"),
    ],
)
def test_exits(tmp_path: Path, ended: dict[str, Any], code: str, kind: int, shown: str) -> None:
    place = AttemptFiles(tmp_path)
    # The files of the task are ignored if its process failed.
    (place.outputs / "error.pb").write_bytes(errors_pb2.ErrorDocument().SerializeToString())
    failed = place.failed({**WELL, **ended, "tail": "one\ntwo\n"})
    assert (failed.error.code, failed.error.kind, failed.retryable) == (code, kind, True)
    assert failed.error.message == f"\r\n[pod] terminated with {shown}. Message: \none\ntwo."
    assert failed.system == (kind == SYSTEM)


@pytest.mark.parametrize(
    ("reason", "code", "setting"),
    [
        ("printed", "LogLimitExceeded", "PRINTED_BYTES_MAX"),
        ("disk", "DiskFull", "FREE_BYTES_MIN"),
        ("processes", "TooManyProcesses", "TASK_PROCESSES_MAX"),
    ],
)
def test_limits_name_their_setting(tmp_path: Path, reason: str, code: str, setting: str) -> None:
    failed = AttemptFiles(tmp_path).failed({**WELL, "code": None, "signal": 9, "reason": reason})
    assert (failed.error.code, failed.error.kind, failed.retryable) == (code, USER, False)
    assert f"FLYTEADMIN__ENGINE__LOCAL__{setting}" in failed.error.message


@pytest.mark.parametrize(
    ("ended", "figures"),
    [
        ({"code": None, "signal": 9, "peak_bytes": 389 * 1024**2}, "; it used up to 389 MiB"),
        (
            {"code": 137, "peak_bytes": 200 * 1024**2, "memory_bytes_max": 300 * 1024**2},
            "; it used up to 200 MiB; the limit of the task is 300 MiB",
        ),
        ({"code": 137}, ""),
    ],
)
def test_the_last_line_of_a_task_that_the_kernel_killed_is_the_cause(
    tmp_path: Path, ended: dict[str, Any], figures: str
) -> None:
    failed = AttemptFiles(tmp_path).failed({**WELL, "oom": True, **ended, "tail": "one\ntwo\n"})
    assert (failed.error.code, failed.error.kind, failed.retryable) == ("OOMKilled", USER, True)
    assert failed.error.message == (
        "\r\n[pod] terminated with exit code (137). Reason [OOMKilled]. Message: \none\ntwo\n"
        f"Killed by the system, whose memory, or that of the server's group of processes, ran out{figures}"
    )


def test_the_last_line_of_a_task_above_its_limit_is_the_cause(tmp_path: Path) -> None:
    memory = {"memory_bytes": 389 * 1024**2, "memory_bytes_max": 300 * 1024**2}
    failed = AttemptFiles(tmp_path).failed({**WELL, "reason": "memory", "tail": "\nepoch 3\n", **memory})
    first, before, last = failed.error.message.splitlines()
    assert "Reason [OOMKilled]" in first
    assert before == "epoch 3"
    assert last == "Killed: it used 389 MiB of memory; the limit of the task is 300 MiB"


def test_a_log_that_could_not_be_written_is_reported(tmp_path: Path) -> None:
    failed = AttemptFiles(tmp_path).failed({**WELL, "code": 1, "log_error": "No space left on device"})
    assert "the log could not be written: No space left on device" in failed.error.message


def test_no_record_is_a_lost_process(tmp_path: Path) -> None:
    failed = AttemptFiles(tmp_path).failed(None)
    assert (failed.error.code, failed.system, failed.retryable) == ("ResourceDeletedExternally", True, True)


@pytest.mark.parametrize("ended", [{"code": 0}, {"code": None, "signal": 9}])
def test_a_termination_by_the_engine_is_no_failure(tmp_path: Path, ended: dict[str, Any]) -> None:
    assert AttemptFiles(tmp_path).read({**WELL, **ended, "reason": "terminated"}) == Killed()


@pytest.mark.parametrize(
    ("kind", "origin", "retryable"),
    [
        (errors_pb2.ContainerError.RECOVERABLE, USER, True),
        (errors_pb2.ContainerError.NON_RECOVERABLE, USER, False),
        (errors_pb2.ContainerError.RECOVERABLE, SYSTEM, True),
        (errors_pb2.ContainerError.NON_RECOVERABLE, UNKNOWN, False),
    ],
)
def test_the_error_of_the_task_comes_first_and_unchanged(
    tmp_path: Path, kind: int, origin: int, retryable: bool
) -> None:
    place = AttemptFiles(tmp_path)
    document = errors_pb2.ErrorDocument()
    document.error.code, document.error.message, document.error.worker = "C", "M", "W"
    document.error.kind, document.error.origin = kind, origin  # type: ignore[assignment]
    document.error.timestamp.seconds = 7
    (place.outputs / "error.pb").write_bytes(document.SerializeToString())
    (place.outputs / "outputs.pb").write_bytes(literal_map({"o0": 1}).SerializeToString())
    (place.outputs / "deck.html").write_text("deck")
    expected = execution_pb2.ExecutionError(code="C", message="M", kind=origin, worker="W")  # type: ignore[arg-type]
    expected.timestamp.seconds = 7
    assert place.read(WELL) == Failed(expected, retryable, f"{place.outputs}/deck.html", reported=True)


def test_an_error_file_above_the_limit_is_permanent(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path)
    (place.outputs / "error.pb").write_bytes(b"x" * 2000)
    failed = place.failed(WELL)
    assert (failed.error.code, failed.system, failed.retryable) == ("ErrorFileBadFormat", True, False)
    assert "is too large [2000] bytes, max allowed [1000] bytes (storage.limits.maxDownloadMBs)" in failed.error.message


def test_futures_come_before_outputs(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path)
    (place.outputs / "futures.pb").write_bytes(b"")
    (place.outputs / "outputs.pb").write_bytes(literal_map({"o0": 1}).SerializeToString())
    assert isinstance(place.read(WELL), Dynamic)


def test_broken_futures_fail_a_task_without_outputs_too(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path, declared=False)
    (place.outputs / "futures.pb").write_bytes(b"\xff")
    assert place.failed(WELL).error.code == "OutputsBadFormat"


def test_outputs_that_are_not_declared_are_not_read(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path, declared=False)
    (place.outputs / "outputs.pb").write_bytes(b"\xff" * 2000)
    read = place.read(WELL)
    assert isinstance(read, Succeeded), read
    assert (read.output_uri, len(read.outputs.literals)) == (f"{place.outputs}/outputs.pb", 0)


@pytest.mark.parametrize("named", [{}, {"other": 1}])
def test_outputs_without_the_declared_ones_are_an_error_of_the_user(tmp_path: Path, named: dict[str, Any]) -> None:
    place = AttemptFiles(tmp_path)
    (place.outputs / "outputs.pb").write_bytes(literal_map(named).SerializeToString())
    failed = place.failed(WELL)
    assert (failed.error.code, failed.error.kind) == ("OutputsBadFormat", USER)
    assert "lacks the outputs [o0] that task [" in failed.error.message
    assert failed.error.message.endswith(f"it has [{', '.join(named)}]")


@pytest.mark.parametrize("name", ["outputs.pb", "futures.pb", "error.pb"])
@pytest.mark.parametrize("made", ["pipe", "socket", "device", "link out", "loop"])
def test_an_output_that_is_no_file_is_an_error_of_the_user(tmp_path: Path, name: str, made: str) -> None:
    place = AttemptFiles(tmp_path)
    path = place.outputs / name
    match made:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(os.path.relpath(path))
        case "device":
            path.symlink_to("/dev/zero")
        case "link out":
            (tmp_path / "secret").write_bytes(literal_map({"o0": 1}).SerializeToString())
            path.symlink_to(tmp_path / "secret")
        case "loop":
            path.symlink_to(path)
    failed = place.failed(WELL)
    assert failed.error.kind == USER
    assert failed.error.code == ("ErrorFileBadFormat" if name == "error.pb" else "OutputsBadFormat")
    assert f"output file @[{path}] cannot be used: " in failed.error.message


def test_a_deck_that_is_no_file_is_none(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path)
    os.mkfifo(place.outputs / "deck.html")
    (place.outputs / "outputs.pb").write_bytes(literal_map({"o0": 1}).SerializeToString())
    assert place.read(WELL) == Succeeded(f"{place.outputs}/outputs.pb", literal_map({"o0": 1}))


def test_a_store_that_cannot_be_read_is_no_outcome(tmp_path: Path) -> None:
    place = AttemptFiles(tmp_path)
    place.run = replace(place.run, output_prefix="s3://elsewhere/0")
    with pytest.raises(BlobError):
        place.read(WELL)


@pytest.mark.parametrize("eager", [True, False])
def test_an_eager_task_is_retried_after_a_restart_of_the_server(tmp_path: Path, eager: bool) -> None:
    place = AttemptFiles(tmp_path)
    place.run.task.metadata.is_eager = eager
    document = errors_pb2.ErrorDocument()
    document.error.code = "USER:RuntimeError"
    document.error.message = "Message:\n\n    FlyteSystemUnavailableException: Flyte cluster is currently unavailable."
    document.error.origin = USER
    (place.outputs / "error.pb").write_bytes(document.SerializeToString())
    failed = place.failed(WELL)
    assert failed.error.code == "USER:RuntimeError"
    assert (failed.error.kind, failed.retryable) == ((SYSTEM, True) if eager else (USER, False))
