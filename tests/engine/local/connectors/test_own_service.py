"""flytekit's own service of connectors as a process: its environment, its secrets, its death."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2

from app.blobs import Blobs
from app.engine.local.connectors.connection import CallFailed
from app.engine.local.connectors.own_service import OwnService, ServiceBroken
from app.engine.local.connectors.registry import ServiceState
from app.engine.local.processes.environment import Environment
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.secret_store import SecretName, SecretStore
from app.settings import BadSetting, Settings, load
from tests.engine.local.processes.test_environment import a_wheel

VALUE = "geheim-und-lang"
MODULE = """
from flytekit import current_context
from flytekit.extend.backend.base_connector import ConnectorRegistry, Resource, SyncConnectorBase

class Lab(SyncConnectorBase):
    name = "Lab connector"

    def __init__(self):
        super().__init__(task_type_name="lab")

    async def do(self, task_template, inputs=None, **_):
        return Resource(phase=4, message=current_context().secrets.get("lab", "token"))

ConnectorRegistry.register(Lab())
"""


def settings_in(tmp_path: Path, environment: Path | None, **connectors: Any) -> Settings:
    local: dict[str, Any] = {"python_path": str(tmp_path), "connectors": {"service_modules": ["lab"], **connectors}}
    if environment is not None:
        local["environment"] = str(environment)
    (tmp_path / "lab.py").write_text(MODULE)
    return Settings.model_validate({"home": tmp_path / "home", "engine": {"local": local}})


def using(settings: Settings, use: Callable[[OwnService], Awaitable[None]]) -> None:
    async def main() -> None:
        runner = TaskRunner(settings, Blobs(settings), progress=print)
        service = OwnService(settings, runner.connector_environment, "")
        try:
            await use(service)
        finally:
            await service.stop()
            await runner.close()

    asyncio.run(main())


async def said(state: ServiceState) -> str:
    header = agent_pb2.CreateRequestHeader()
    header.template.type = "lab"
    answer = await state.connection.execute(header, literals_pb2.LiteralMap(), seconds_max=None)
    assert answer is not None
    return str(answer.header.resource.message)


def shows(pid: int, text: bytes) -> bool:
    """Whether other processes see a text in the arguments or variables of a process."""
    return any(text in Path(f"/proc/{pid}/{part}").read_bytes() for part in ("environ", "cmdline"))


@pytest.mark.slow
def test_it_reads_its_secrets_that_no_other_process_can_and_comes_back_after_its_death(
    tmp_path: Path, environment: Path
) -> None:
    settings = settings_in(tmp_path, environment, service_secrets=["lab/token"])
    SecretStore(settings).set(SecretName.of("lab", "", "token"), VALUE.encode())

    async def use(service: OwnService) -> None:
        first = await service.state()
        assert first.types is not None
        assert ("lab", 0) in first.types
        assert await said(first) == VALUE
        assert service._process is not None
        pid = service._process.pid
        assert not shows(pid, VALUE.encode())
        os.kill(pid, signal.SIGKILL)
        await service._process.wait()
        with pytest.raises(CallFailed, match=r"is started again in 1 s: the process exited with -9"):
            await service.state()
        async with asyncio.timeout(60):
            while not service.running:
                await asyncio.sleep(0.2)
                try:
                    second = await service.state()
                except CallFailed:
                    continue
        assert await said(second) == VALUE

    using(settings, use)
    assert VALUE.encode() not in b"".join(file.read_bytes() for file in (tmp_path / "home").rglob("*.log"))


@pytest.mark.slow
def test_a_process_that_ends_before_it_names_its_port_is_started_again(tmp_path: Path, environment: Path) -> None:
    settings = settings_in(tmp_path, environment)
    dying = tmp_path / "die"
    dying.write_text("")
    (tmp_path / "lab.py").write_text(f"import os\nif os.path.exists({str(dying)!r}):\n    os._exit(7)\n{MODULE}")

    async def use(service: OwnService) -> None:
        with pytest.raises(CallFailed, match=r"is started again in 1 s: the process exited with 7"):
            await service.state()
        with pytest.raises(CallFailed, match="is started again"):
            await service.state()
        dying.unlink()
        await asyncio.sleep(1.1)
        assert ("lab", 0) in ((await service.state()).types or {})

    using(settings, use)


@pytest.mark.parametrize("missing", ["lock", "folder"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, missing: str) -> None:
    settings = settings_in(tmp_path, None)
    settings.home_path.mkdir()
    blocked = tmp_path / "blocked"
    if missing == "folder":
        blocked = settings.home_path / "connectors"
        blocked.write_text("no folder")
    environment = Environment(tmp_path, lock=blocked / "env.lock" if missing == "lock" else None)

    async def made() -> Environment:
        return environment

    service = OwnService(settings, made, "")
    with pytest.raises(ServiceBroken, match=f"cannot start: .*{blocked}"):
        asyncio.run(service.state())
    assert not service.running


@pytest.mark.slow
def test_a_missing_secret_or_module_is_named(tmp_path: Path, environment: Path) -> None:
    async def lacks_secret(service: OwnService) -> None:
        with pytest.raises(ServiceBroken, match=r"SecretNotFound.*secret set lab/token.*serviceSecrets"):
            await service.state()

    using(settings_in(tmp_path, environment, service_secrets=["lab/token"]), lacks_secret)

    async def lacks_module(service: OwnService) -> None:
        with pytest.raises(ServiceBroken, match="No module named 'absent'"):
            await service.state()

    using(settings_in(tmp_path, environment, service_modules=["absent"]), lacks_module)


@pytest.mark.slow
def test_it_runs_in_an_environment_of_its_own_requirements_or_says_why_not(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path, "1.0")

    async def without_flytekit(service: OwnService) -> None:
        with pytest.raises(ServiceBroken, match=r"absent-part.*\(engine\.local\.connectors\.serviceRequirements\)"):
            await service.state()

    using(settings_in(tmp_path, None, service_requirements=[str(wheel), "absent-part==1"]), without_flytekit)

    async def elsewhere(service: OwnService) -> None:
        with pytest.raises(ServiceBroken, match=r"engine\.local\.connectors\.serviceEnvironment=.* is not a virtual"):
            await service.state()

    using(settings_in(tmp_path, None, service_environment=str(tmp_path)), elsewhere)


def test_the_environment_that_the_setting_names_is_used(tmp_path: Path, environment: Path) -> None:
    settings, path = settings_in(tmp_path, None, service_environment=str(environment)), environment.resolve()

    async def main() -> None:
        runner = TaskRunner(settings, Blobs(settings), progress=print)
        assert (await runner.connector_environment()).path == path
        await runner.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["a/b/c/d", "a//b", "../x", ""])
def test_names_of_secrets_are_checked(tmp_path: Path, name: str) -> None:
    environ = {"FLYTEADMIN__ENGINE__LOCAL__CONNECTORS__SERVICESECRETS": f'["{name}"]'}
    with pytest.raises(BadSetting, match="is no secret; allowed is"):
        load([], environ=environ)
