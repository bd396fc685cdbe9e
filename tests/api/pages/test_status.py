"""The state of a server, on both databases."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app import last_error
from app.api.pages import status, status_model
from app.engine.local.processes.environments.installer import Installer, StepFailed
from app.engine.local.processes.environments.store import EnvironmentStore, NotMade
from app.engine.local.processes.environments.views import store_of
from app.engine.local.processes.environments.wanted import Wanted
from app.runtime.dispatch import Server
from tests.services.test_executions import prepare
from tests.services.test_notifications import launch

Scenario = Callable[..., Any]


async def read(b: Any, services: dict[str, str]) -> dict[str, Any]:
    server = Server(b.settings, b.database, b.blobs, b.engine)
    app = Starlette(routes=status.routes(server, lambda: services))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        reply = await client.get(status.PATH)
        assert reply.status_code == 200, reply.text
        status_model.Status.model_validate(reply.json())
        return dict(reply.json())


def test_sizes_the_work_of_the_engine_and_the_last_error(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await launch(b)
        last_error.clear()
        found = await read(b, {"local_engine": "", "scheduler": "no lease"})
        assert found["engine"]["queued"] == 1
        assert found["engine"]["running"] == 0
        assert found["database"]["bytes"] > 1000
        assert found["storage"]["complete"]
        assert found["services"] == {"local_engine": "", "scheduler": "no lease"}
        assert found["last_error"] is None
        event = {
            "event": "no_disk",
            "level": "error",
            "time": "t",
            "path": "/x",
            "exception": "Traceback\nOSError: full",
        }
        assert last_error.remember(None, "error", event) is event
        last_error.remember(None, "info", {"event": "fine", "level": "info"})
        assert (await read(b, {}))["last_error"] == {
            "time": "t",
            "level": "error",
            "event": "no_disk",
            "reason": "path=/x; OSError: full",
        }

    bench(scenario)


def test_an_environment_that_was_not_made_is_shown_without_its_folder(bench: Scenario) -> None:
    class Failing(Installer):
        def make(self, *arguments: Any, **options: Any) -> None:
            raise StepFailed("no such package")

    async def scenario(b: Any) -> None:
        store = EnvironmentStore(b.settings.home_path / "envs", Failing(), seconds_max=1)
        with pytest.raises(NotMade):
            store.make(Wanted(requirements=("nothing==1",)), "an-image")
        (found,) = (await read(b, {}))["environments"]
        assert (found["state"], found["bytes"]) == ("failed", 0)

    bench(scenario)


def test_an_environment_that_is_being_made_is_no_ready_one(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        store = store_of(b.settings)
        for key, state in (("default-00000000", "ready"), ("1" * 16, "making"), ("2" * 16, "failed")):
            if state != "failed":
                programs = store.path(key) / "bin"
                programs.mkdir(parents=True)
                (programs / "python").touch()
            record = {"key": key, "state": state, "started_at": time.time(), "size_bytes": 5 if state == "ready" else 0}
            store.path(key).with_suffix(".json").write_text(json.dumps(record))
        (b.settings.home_path / "envs" / "default").symlink_to("default-00000000")
        with store.lock_path("1" * 16).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = (await read(b, {}))["environments"]
        # The size of a ready one is that of its record: its files are not counted again.
        assert [(one["name"], one["state"], one["bytes"]) for one in found] == [
            ("default", "ready", 5),
            ("1" * 16, "making", 0),
            ("2" * 16, "failed", 0),
        ]

    bench(scenario)


def test_bytes_are_counted_for_a_limited_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"x" * 5)
    (tmp_path / "link").symlink_to("/etc")
    assert status.count_bytes(tmp_path, 60) == (15, True)
    assert status.count_bytes(tmp_path, -1) == (0, False)
