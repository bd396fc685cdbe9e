"""Connectors whose jobs are files, and tasks of their types: flytekit's own service runs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import kwtypes, workflow
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import (
    AsyncConnectorBase,
    ConnectorRegistry,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
)
from flytekit.sensor.file_sensor import FileSensor

ASYNC_TYPE, SYNC_TYPE = "file_job", "file_now"


@dataclass
class Meta(ResourceMeta):
    path: str


def note(path: str, word: str) -> None:
    with open(f"{path}.{word}", "a") as file:
        file.write(f"{word}\n")


def result(path: str) -> str | None:
    file = Path(path)
    return file.read_text() if file.exists() else None


class FileConnector(AsyncConnectorBase):
    """A job ends when its file holds a result; `boom` is a failure."""

    name = "File connector"

    def __init__(self) -> None:
        super().__init__(task_type_name=ASYNC_TYPE, metadata_type=Meta)

    async def create(self, task_template: Any, inputs: Any = None, **_: Any) -> Meta:
        path = inputs.literals["path"].scalar.primitive.string_value
        note(path, "created")
        return Meta(path=path)

    async def get(self, resource_meta: Meta, **_: Any) -> Resource:
        text = result(resource_meta.path)
        if text is None:
            return Resource(phase=TaskExecution.RUNNING, message="no result yet")
        if text == "boom":
            return Resource(phase=TaskExecution.FAILED, message="the file says boom")
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": text})

    async def delete(self, resource_meta: Meta, **_: Any) -> None:
        note(resource_meta.path, "deleted")


class NowConnector(SyncConnectorBase):
    """Returns its input in capitals."""

    name = "Now connector"

    def __init__(self) -> None:
        super().__init__(task_type_name=SYNC_TYPE)

    async def do(self, task_template: Any, inputs: Any = None, **_: Any) -> Resource:
        text = inputs.literals["path"].scalar.primitive.string_value
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": text.upper()})


ConnectorRegistry.register(FileConnector())
ConnectorRegistry.register(NowConnector())


class RemoteTask(PythonTask):
    def __init__(self, name: str, task_type: str) -> None:
        super().__init__(
            task_type=task_type, name=name, task_config=None, interface=Interface(kwtypes(path=str), kwtypes(o0=str))
        )

    def execute(self, **_: Any) -> Any:
        raise NotImplementedError("a service runs this")


job = RemoteTask("connected.job", ASYNC_TYPE)
now = RemoteTask("connected.now", SYNC_TYPE)
unheard = RemoteTask("connected.unheard", "unheard_of")
there = FileSensor(name="connected.there")


@workflow
def jobs(path: str) -> str:
    return job(path=path)


@workflow
def nows(path: str) -> str:
    return now(path=path)


@workflow
def sensed(path: str) -> None:
    there(path=path)


@workflow
def unknown(path: str) -> str:
    return unheard(path=path)
