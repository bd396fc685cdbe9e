"""The reply of /api/v1/status: the source of its part of `own_document.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from app.api.pages.own_models import Model


class Addresses(Model):
    """The listeners of the server, as host:port."""

    rest: str
    grpc: str
    metrics: str


class DatabaseState(Model):
    """The database. bytes: null where its size is not known."""

    address: str
    bytes: int | None


class FolderState(Model):
    """The storage. complete: whether all files were counted in time."""

    address: str
    bytes: int | None
    complete: bool


class EnvironmentState(Model):
    """An environment of tasks. Its size grows while it is made."""

    name: str
    path: str
    state: Literal["making", "ready", "failed"]
    bytes: int
    complete: bool


class EngineState(Model):
    """The executions that engines run, and those that wait for one."""

    kind: Literal["local", "kubernetes", "none"]
    running: int
    queued: int
    problem: str


class LogLine(Model):
    """The last warning or error in the log of the process that replies."""

    time: str
    level: str
    event: str
    reason: str


class Status(Model):
    """The state of a server. services: the reason why a service does not work, by its name."""

    version: str
    home: str
    started_at: AwareDatetime
    addresses: Addresses
    database: DatabaseState
    storage: FolderState
    engine: EngineState
    environments: list[EnvironmentState]
    services: dict[str, str]
    not_ready: list[str]
    last_error: LogLine | None
