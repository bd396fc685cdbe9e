"""The object store is away while executions run: they wait and go on, and what cannot pass ends them at once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import errors
from app.blobs import BlobTooLarge, BlobUnavailable, BlobUnreadable, StorageFull
from app.engine.local.graph.outages import Outage, is_transient
from tests.support import buckets
from tests.support.clusters import Postgres, binaries
from tests.support.servers import Running, serving

SCOPE = "flytesnacks/development"
WAIT_SECONDS_MAX = 60.0


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (BlobUnavailable("x"), True),
        (StorageFull("x"), True),
        (errors.Unavailable("x"), True),
        (errors.DeadlineExceeded("x"), True),
        (errors.Aborted("x"), True),
        (BlobTooLarge("x"), False),
        (BlobUnreadable("x"), False),
        (errors.Internal("x"), False),
        (ValueError("x"), False),
    ],
)
def test_which_errors_are_transient(error: Exception, passes: bool) -> None:
    assert is_transient(error) is passes


def test_an_outage_begins_once_and_again_after_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    outage = Outage()
    begins, pauses = [], []
    for step in (0, 1, 2, 4, 8, 10, 200):
        now += step
        begins.append(outage.record_failure())
        pauses.append(outage.pause_seconds)
    assert begins == [True, False, False, False, False, False, True]
    assert [round(pause * 2) / 2 for pause in pauses[:2]] == [0.5, 1.0]
    assert max(pauses) <= 12
    assert outage.seconds == 0


class Plane:
    """A server whose store can fail, and a client of it."""

    def __init__(self, server: Running, bucket: buckets.Bucket) -> None:
        self.server, self.bucket = server, bucket
        self.client = httpx.Client(base_url=f"{server.web}/api/v1", timeout=30, headers={"accept": "application/json"})

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.client.request(method, path, json=body)

    def launch(self, seconds: float, name: str) -> None:
        """Start a task that sleeps and return when it runs."""
        self.submit(["/bin/sh", "-c", f"sleep {seconds}"], name)
        self.until(
            lambda: self.attempts(name) and self.attempts(name)[0]["closure"]["phase"] in ("RUNNING", "SUCCEEDED")
        )

    def submit(self, command: list[str], name: str, *, retries: int = 0, indices: int = 0) -> None:
        """Start a task, or a map of so many indices, that runs a command."""
        id = {"resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": name, "version": "1"}
        template = {
            "id": id,
            "type": "container_array" if indices else "raw-container",
            "interface": {},
            "metadata": {"runtime": {"type": "OTHER", "version": "1", "flavor": "x"}, "retries": {"retries": retries}},
            "container": {"image": "x", "command": command},
            "custom": {"size": str(indices), "parallelism": str(indices)} if indices else {},
        }
        assert self.call("POST", "/tasks", {"id": id, "spec": {"template": template}}).status_code == 200
        body = {"project": "flytesnacks", "domain": "development", "name": name, "spec": {"launch_plan": id}}
        answer = self.call("POST", "/executions", {**body, "inputs": {}})
        assert answer.status_code == 200, answer.text

    def reads_store(self, seconds: float) -> list[str]:
        """Return the command of a task that fails where the store does not answer it after some seconds."""
        source = f"""
import http.client, sys, time
time.sleep({seconds})
connection = http.client.HTTPConnection("{self.bucket.address.removeprefix("http://")}", timeout=5)
connection.request("GET", "/flyte/code")
sys.exit(connection.getresponse().status >= 500)
"""
        return [sys.executable, "-c", source]

    def until(self, holds: Callable[[], Any]) -> float:
        """Wait until a condition holds; how long it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() < began + WAIT_SECONDS_MAX, self.server.printed[-3000:]
            time.sleep(0.1)
        return time.monotonic() - began

    def closure(self, name: str) -> Any:
        return self.call("GET", f"/executions/{SCOPE}/{name}").json()["closure"]

    def ended(self, name: str, phase: str) -> float:
        return self.until(lambda: self.closure(name).get("phase") == phase)

    def attempts(self, name: str) -> Any:
        answer = self.call("GET", f"/task_executions/{SCOPE}/{name}/{name}?limit=100")
        return answer.json().get("task_executions", []) if answer.status_code == 200 else []


@pytest.fixture(scope="module")
def bucket() -> Iterator[buckets.Bucket]:
    with buckets.running() as running:
        yield running


@pytest.fixture(scope="module")
def plane(bucket: buckets.Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    variables = {
        "FLYTEADMIN_ENGINE": "local",
        "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": sys.prefix,
        "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "1",
        **bucket.variables(),
    }
    with serving(tmp_path_factory.mktemp("home"), variables=variables) as server:
        made = Plane(server, bucket)
        with made.client:
            yield made


@pytest.fixture(autouse=True)
def healed(bucket: buckets.Bucket) -> Iterator[None]:
    yield
    bucket.fault = ""


@pytest.mark.slow
class TestStoreAway:
    @pytest.mark.parametrize("fault", ["503", "reset"])
    def test_an_execution_waits_shows_why_and_goes_on(self, plane: Plane, fault: str) -> None:
        name = f"waits{fault[0]}"
        plane.launch(1, name)
        plane.bucket.fault = fault
        plane.until(lambda: "waiting for the object store" in str(plane.attempts(name)))
        time.sleep(3)
        assert plane.closure(name)["phase"] == "RUNNING"
        plane.bucket.fault = ""
        plane.ended(name, "SUCCEEDED")
        assert len(plane.attempts(name)) == 1
        told = [line for line in plane.server.printed.splitlines() if name in line and "waits_for_storage" in line]
        assert len(told) == 1

    @pytest.mark.parametrize("indices", [0, 3])
    def test_a_process_that_fails_without_the_store_is_repeated_and_costs_no_retry(
        self, plane: Plane, indices: int
    ) -> None:
        name = f"repeated{indices}"
        plane.submit(plane.reads_store(2), name, indices=indices)
        plane.until(lambda: "RUNNING" in str(plane.attempts(name)))
        plane.bucket.fault = "503"
        plane.until(lambda: "waiting for the object store" in str(plane.attempts(name)))
        time.sleep(2)
        assert plane.closure(name)["phase"] == "RUNNING"
        plane.bucket.fault = ""
        plane.ended(name, "SUCCEEDED")
        attempts = plane.attempts(name)
        if indices:
            (array,) = attempts
            ended = [one for one in array["closure"]["metadata"]["external_resources"] if one["phase"] == "SUCCEEDED"]
            assert sorted(one.get("index", 0) for one in ended) == [0, 1, 2]
            return
        assert [one["closure"]["phase"] for one in attempts] == ["FAILED", "SUCCEEDED"]
        error = attempts[0]["closure"]["error"]
        assert (error["code"], error["kind"]) == ("StorageUnavailable", "SYSTEM")
        assert "503 Service Unavailable" in error["message"]
        assert "exit code (1)" in error["message"]

    def test_a_task_that_fails_while_the_store_answers_spends_its_retries(self, plane: Plane) -> None:
        plane.submit(["/bin/sh", "-c", "exit 1"], "counted", retries=1)
        plane.ended("counted", "FAILED")
        assert [one["closure"]["error"]["code"] for one in plane.attempts("counted")] == ["Error", "Error"]
        assert plane.closure("counted")["error"]["code"] == "RetriesExhausted|Error"

    def test_clients_are_answered_unavailable(self, plane: Plane) -> None:
        plane.launch(0, "answered")
        plane.ended("answered", "SUCCEEDED")
        plane.bucket.fault = "503"
        began = time.monotonic()
        answer = plane.call("GET", f"/data/executions/{SCOPE}/answered")
        assert (answer.status_code, answer.json()["code"]) == (503, 14)
        assert time.monotonic() - began < 15

    def test_an_abort_does_not_wait(self, plane: Plane) -> None:
        plane.launch(1, "aborted")
        plane.bucket.fault = "500"
        plane.until(lambda: "waiting for the object store" in str(plane.attempts("aborted")))
        time.sleep(2)
        assert plane.call("DELETE", f"/executions/{SCOPE}/aborted", {"cause": "enough"}).status_code == 200
        assert plane.ended("aborted", "ABORTED") < 10

    @pytest.mark.parametrize(
        ("fault", "reason"), [("denied", "403 Forbidden"), ("bucket", "there is no bucket [s3://flyte]")]
    )
    def test_a_permanent_error_ends_the_execution_at_once(self, plane: Plane, fault: str, reason: str) -> None:
        name = f"ends{fault}"
        plane.launch(1, name)
        plane.bucket.fault = fault
        assert plane.ended(name, "FAILED") < 15
        error = plane.closure(name)["error"]
        assert error["kind"] == "SYSTEM"
        assert reason in error["message"]

    def test_the_server_stops_at_once_while_executions_wait(self, plane: Plane) -> None:
        # The last test of the module, because it stops the server.
        plane.launch(1, "stopped")
        plane.bucket.fault = "503"
        plane.until(lambda: "waiting for the object store" in str(plane.attempts("stopped")))
        began = time.monotonic()
        assert plane.server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 15


@pytest.mark.slow
def test_a_process_that_starts_without_the_store_is_repeated_by_the_next_server(tmp_path: Path) -> None:
    with buckets.running() as bucket:
        variables = {
            "FLYTEADMIN_ENGINE": "local",
            "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": sys.prefix,
            "FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": "1",
            **bucket.variables(),
        }
        home = tmp_path / "home"
        with serving(home, variables=variables) as server:
            plane = Plane(server, bucket)
            with plane.client:
                plane.launch(2, "before")
                plane.submit(plane.reads_store(0), "within")
                plane.until(lambda: plane.attempts("within"))
                bucket.fault = "503"
                # The first task ends and gives its place to the second one.
                plane.until(lambda: "waiting for the object store" in str(plane.attempts("within")))
            server.stop(signal.SIGKILL)
        bucket.fault = ""
        with serving(home, variables=variables) as server:
            plane = Plane(server, bucket)
            with plane.client:
                for name, phases in (("before", ["SUCCEEDED"]), ("within", ["FAILED", "SUCCEEDED"])):
                    plane.ended(name, "SUCCEEDED")
                    assert [one["closure"]["phase"] for one in plane.attempts(name)] == phases


@pytest.mark.slow
def test_an_execution_waits_for_the_database(tmp_path: Path) -> None:
    found = binaries()
    if found is None:
        pytest.skip("no initdb on this machine")
    cluster = Postgres(found)
    try:
        variables = {
            "FLYTEADMIN_ENGINE": "local",
            "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": sys.prefix,
            "FLYTEADMIN_DATABASE_URL": cluster.create(),
        }
        with serving(tmp_path, variables=variables) as server, buckets.running() as bucket:
            plane = Plane(server, bucket)
            with plane.client:
                plane.launch(2, "waits")
                cluster.halt()
                # Longer than the retries of one call of the database take.
                time.sleep(10)
                assert plane.call("GET", f"/executions/{SCOPE}/waits").status_code == 503
                cluster.start()
                plane.ended("waits", "SUCCEEDED")
                assert len(plane.attempts("waits")) == 1
            assert server.printed.count("execution_waits_for_database") == 1
            assert "Traceback" not in server.printed
    finally:
        cluster.stop()
