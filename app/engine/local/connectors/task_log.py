"""The log of an attempt that a service runs: messages of its replies with times, and the service's own log."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from flyteidl.admin import agent_pb2

from app import limited_log
from app.engine.local.connectors.connection import NO_LOGS, CallFailed, ConnectorConnection
from app.engine.local.connectors.jobs import Job

_PAGES_MAX = 1000


class TaskLog:
    """Appends lines to the log of an attempt, up to a limit.

    Args:
        path: The file.
        bytes_max: The limit.
    """

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def write(self, line: str) -> None:
        """Append a line with the present time."""
        self._append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")

    async def fetch(self, connection: ConnectorConnection, job: Job) -> None:
        """Append the log that the service has of a task, where it has one."""
        token = ""
        try:
            for _ in range(_PAGES_MAX):
                request = agent_pb2.GetTaskLogsRequest(
                    task_type=job.task_type, task_category=job.category, resource_meta=job.meta, token=token
                )
                following = ""
                async for message in connection.logs(request):
                    if message.WhichOneof("part") == "header":
                        following = message.header.token
                    elif not self._append("".join(f"{line.rstrip()}\n" for line in _lines(message.body))):
                        return
                if following in ("", token):
                    return
                token = following
        except CallFailed as error:
            if error.code not in NO_LOGS:
                limited_log.warning(
                    "connector_log_not_read",
                    key=connection.target.name,
                    reason=str(error)[:500],
                    job=job.generated_name,
                )

    def _append(self, text: str) -> bool:
        """Append a text; return whether more may follow. A full disk does not end the task."""
        data = text.encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size >= self._bytes_max:
                    return False
                if size + len(data) > self._bytes_max:
                    note = f"\n[log: limit of {self._bytes_max} bytes reached]\n".encode()
                    data = data[: self._bytes_max - size] + note
                os.write(descriptor, data)
                return size + len(data) <= self._bytes_max
            finally:
                os.close(descriptor)
        except OSError as error:
            limited_log.warning("connector_log_not_written", reason=f"{error.strerror}: {error.filename}")
            return False


def _lines(body: agent_pb2.GetTaskLogsResponseBody) -> list[str]:
    if body.structured_lines:
        return [f"{line.timestamp.ToJsonString()} {line.message}" for line in body.structured_lines]
    return list(body.results)
