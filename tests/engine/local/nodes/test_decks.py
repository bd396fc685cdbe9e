"""A running node shows the address of a deck from the moment at which the deck lies in the storage."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import errors
from app.blobs import Blobs, BlobUnavailable
from app.engine.local.graph.failures import ExecutionEnded
from app.engine.local.nodes.deck_watch import DeckWatch
from app.engine.local.processes import decks
from app.settings import Settings
from tests.support import buckets
from tests.support.servers import Running, serving

SCOPE = "flytesnacks/development"
WAIT_SECONDS_MAX = 60.0
# Waits for gate-<attempt>, writes its deck, waits for end-<attempt> and fails.
SCRIPT = """
out={{.outputPrefix}} gates=%s attempt=$(basename $out)
until [ -e $gates/gate-$attempt ]; do sleep 0.05; done
mkdir -p $out && echo page $attempt > $out/deck.html && touch $gates/wrote-$attempt
until [ -e $gates/end-$attempt ]; do sleep 0.05; done
exit 1
"""


def settings_of(folder: Path, **local: Any) -> Settings:
    given = {"home": folder, "storage": {"url": str(folder / "store")}, "engine": {"local": local}}
    return Settings.model_validate(given)


class Store:
    """A store in which the deck appears after some looks. errors: raised by the first looks."""

    def __init__(self, *, local: bool, looks: int, errors: tuple[Exception, ...] = ()) -> None:
        self.local = local
        self.looks = looks
        self.errors = list(errors)

    async def exists(self, uri: str) -> bool:
        self.looks -= 1
        if self.errors:
            raise self.errors.pop(0)
        return self.looks < 0

    def contains(self, uri: str) -> bool:
        return True


class TestWatch:
    @pytest.fixture(autouse=True)
    def paused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time does not pass between two looks."""
        self.pauses: list[float] = []
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            await real(0)

        monkeypatch.setattr(asyncio, "sleep", sleep)

    def watched(self, folder: Path, store: Any, *raised: Exception) -> int:
        """Run a watch until it ends; return how often the deck was shown. raised: by the first calls that show it."""
        settings = settings_of(folder, deck_interval_seconds=1, deck_interval_seconds_max=5)
        shown, left, watch = 0, list(raised), DeckWatch(settings, store)

        async def show() -> None:
            nonlocal shown
            shown += 1
            if left:
                raise left.pop(0)

        async def main() -> None:
            watch.start("deck", show)
            assert watch._polling is not None
            await watch._polling
            await watch.stop()

        asyncio.run(main())
        return shown

    @pytest.mark.parametrize(("local", "pauses"), [(True, [1, 1, 1, 1, 1]), (False, [1, 2, 4, 5, 5])])
    def test_a_deck_is_shown_once_and_looks_at_a_bucket_back_off(
        self, tmp_path: Path, local: bool, pauses: list[float]
    ) -> None:
        assert self.watched(tmp_path, Store(local=local, looks=4)) == 1
        assert self.pauses == pauses

    def test_an_outage_does_not_end_the_watch(self, tmp_path: Path) -> None:
        store = Store(local=True, looks=2, errors=(BlobUnavailable("away"), BlobUnavailable("away")))
        assert self.watched(tmp_path, store, errors.Unavailable("the database is away")) == 2

    @pytest.mark.parametrize("error", [ExecutionEnded("ended"), RuntimeError("a defect")])
    def test_the_watch_ends_where_no_look_can_help(self, tmp_path: Path, error: Exception) -> None:
        assert self.watched(tmp_path, Store(local=True, looks=0), error) == 1

    def test_a_stopped_watch_shows_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            watch = DeckWatch(settings_of(tmp_path), Store(local=True, looks=0))  # type: ignore[arg-type]

            async def show() -> None:
                raise AssertionError("shown")

            watch.start("deck", show)
            await watch.stop()
            await watch.stop()

        asyncio.run(main())

    def test_a_pipe_is_no_deck(self, tmp_path: Path) -> None:
        settings = settings_of(tmp_path)
        blobs = Blobs(settings)
        os.mkfifo(tmp_path / "store" / "deck.html")
        assert asyncio.run(decks.first_of(blobs, blobs.uri("deck.html"))) == ""


class Plane:
    """A client of a server with the local engine."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.client = httpx.Client(base_url=f"{server.web}/api/v1", timeout=30, headers={"accept": "application/json"})

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.client.request(method, path, json=body)

    def launch(self, name: str, script: str) -> None:
        """Start a task that generates decks, with one retry."""
        id = {"resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": name, "version": "1"}
        template = {
            "id": id,
            "type": "raw-container",
            "interface": {},
            "metadata": {
                "runtime": {"type": "OTHER", "version": "1", "flavor": "x"},
                "retries": {"retries": 1},
                "generates_deck": True,
            },
            "container": {"image": "x", "command": ["/bin/sh", "-c", script]},
        }
        answer = self.call("POST", "/tasks", {"id": id, "spec": {"template": template}})
        assert answer.status_code == 200, answer.text
        body = {"project": "flytesnacks", "domain": "development", "name": name, "spec": {"launch_plan": id}}
        answer = self.call("POST", "/executions", {**body, "inputs": {}})
        assert answer.status_code == 200, answer.text

    def node(self, name: str) -> Any:
        rows = self.call("GET", f"/node_executions/{SCOPE}/{name}?limit=100").json().get("node_executions", [])
        return next((row for row in rows if row["id"]["node_id"] == name), None)

    def phase(self, name: str) -> str:
        node = self.node(name)
        return str(node["closure"].get("phase", "")) if node else ""

    def deck_uri(self, name: str) -> str:
        return str(self.node(name)["closure"].get("deck_uri", ""))

    def shown(self, name: str) -> str:
        """The attempt whose deck the node shows; its link is opened each time."""
        uri = self.deck_uri(name)
        execution = {"project": "flytesnacks", "domain": "development", "name": name}
        asked = {
            "artifact_type": "ARTIFACT_TYPE_DECK",
            "node_execution_id": {"node_id": name, "execution_id": execution},
        }
        answer = self.call("POST", "/dataproxy/artifact_link", asked)
        if not uri and answer.status_code == 200:
            uri = self.deck_uri(name)  # the deck came between the two calls
        assert answer.status_code == (200 if uri else 404), answer.text
        return str(uri.split("/")[-2]) if uri else ""

    def until(self, holds: Callable[[], Any]) -> None:
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            assert time.monotonic() < end, self.server.printed[-3000:]
            time.sleep(0.05)

    def attempts_running(self, name: str, count: int) -> bool:
        rows = self.call("GET", f"/task_executions/{SCOPE}/{name}/{name}?limit=10").json().get("task_executions", [])
        return len(rows) == count and any(row["closure"].get("phase") == "RUNNING" for row in rows)

    def abort(self, name: str) -> None:
        assert self.call("DELETE", f"/executions/{SCOPE}/{name}", {"cause": "enough"}).status_code == 200
        self.until(lambda: self.phase(name) == "ABORTED")


@contextmanager
def planes(home: Path, **more: str) -> Iterator[Plane]:
    variables = {
        "FLYTEADMIN_ENGINE": "local",
        "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": sys.prefix,
        "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "1",
        **more,
    }
    with serving(home, variables=variables) as server:
        plane = Plane(server)
        with plane.client:
            yield plane


@pytest.mark.slow
def test_each_attempt_shows_its_deck_when_it_exists_also_after_a_crash(tmp_path: Path) -> None:
    name, home = "retried", tmp_path / "home"

    def gate(gate: str) -> None:
        (tmp_path / gate).touch()

    with planes(home) as plane:
        plane.launch(name, SCRIPT % tmp_path)
        plane.until(lambda: plane.phase(name) == "RUNNING" and plane.attempts_running(name, 1))
        assert plane.shown(name) == ""
        started = plane.node(name)["closure"]["started_at"]
        gate("gate-0")
        plane.until(lambda: plane.shown(name) == "0")
        assert plane.node(name)["closure"]["started_at"] == started
        gate("end-0")
        plane.until(lambda: plane.attempts_running(name, 2))
        assert plane.shown(name) == "0"
        plane.server.stop(signal.SIGKILL)
    with planes(home) as plane:
        plane.until(lambda: plane.attempts_running(name, 2))
        assert plane.shown(name) == "0"
        gate("gate-1")
        plane.until(lambda: plane.shown(name) == "1")
        plane.abort(name)
        assert plane.shown(name) == "1"


@pytest.mark.slow
def test_a_deck_written_just_before_the_end_is_shown(tmp_path: Path) -> None:
    with planes(tmp_path / "home", FLYTEADMIN__ENGINE__LOCAL__DECK_INTERVAL_SECONDS="600") as plane:
        for name in ("aborted", "failed"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "gate-0").touch()
            plane.launch(name, SCRIPT % (tmp_path / name))
        for name in ("aborted", "failed"):
            plane.until((tmp_path / name / "wrote-0").exists)
            assert plane.shown(name) == ""
        plane.abort("aborted")
        assert plane.shown("aborted") == "0"
        (tmp_path / "failed" / "end-0").touch()
        plane.until(lambda: plane.shown("failed") == "0")
        # The second attempt ends without a deck: that of the first one stays.
        plane.abort("failed")
        assert plane.shown("failed") == "0"


@pytest.mark.slow
def test_a_deck_in_a_bucket_is_found(tmp_path: Path) -> None:
    with buckets.running() as bucket, planes(tmp_path / "home", **bucket.variables()) as plane:
        plane.launch("remote", "sleep 60")
        plane.until(lambda: plane.phase("remote") == "RUNNING")
        assert plane.node("remote")["closure"].get("deck_uri", "") == ""
        inputs = plane.node("remote")["input_uri"].removeprefix("s3:/")
        bucket.fault = "503"
        bucket.objects[inputs.replace("inputs.pb", "0/deck.html")] = b"page"
        time.sleep(1)
        bucket.fault = ""
        plane.until(lambda: plane.shown("remote") == "0")
        plane.abort("remote")
        assert plane.shown("remote") == "0"
