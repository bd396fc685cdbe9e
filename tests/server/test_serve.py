"""Serving processes: one and several, that answer, restart, stop in time and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app.server.home import CONFIG_HEADER
from tests.support.servers import ROOT, STOP_SECONDS_MAX, Running, launch, run, serving
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def children(process: int) -> list[int]:
    """The worker processes below a supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == process and "spawn_main" in command:
                found.append(int(entry.name))
    return found


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(reply.status)


def counted(server: Running, name: str) -> float:
    """The value of a metric."""
    for line in httpx.get(f"{server.metrics}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def list_projects(server: Running) -> None:
    httpx.get(f"{server.web}/api/v1/projects").raise_for_status()


class TestOneProcess:
    def test_first_start_makes_the_home_folder_and_the_first_project(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        with serving(home) as server:
            assert (home.stat().st_mode & 0o777) == 0o700
            assert {"config.yaml", "flyteadmin.db", "storage", "envs"} <= {path.name for path in home.iterdir()}
            assert httpx.get(f"{server.web}/healthcheck").status_code == 200
            (project,) = httpx.get(f"{server.web}/api/v1/projects").json()["projects"]
            assert project["id"] == "flytesnacks"
            assert [domain["id"] for domain in project["domains"]] == ["development", "staging", "production"]
            assert server.web.rpartition(":")[2] in (home / "config.yaml").read_text()
            assert f"curl {server.web}/api/v1/executions/flytesnacks/development/<name>" in server.printed
            assert server.stop() == 0
        assert server.printed.rstrip().endswith("stopped")

    @pytest.mark.smoke
    def test_http1_http2_and_grpc_share_the_port(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home") as server:
            assert httpx.get(f"{server.web}/openapi.json").json()["openapi"].startswith("3.1")
            assert health(server.address("REST and gRPC")) == health_pb2.HealthCheckResponse.SERVING
            assert health(server.address("gRPC alone")) == health_pb2.HealthCheckResponse.SERVING

    def test_httptools_and_grpcio_take_over_where_zttp_is_missing(self, tmp_path: Path) -> None:
        variables = {"FLYTEADMIN__SERVER__HTTP": "httptools"}
        with serving(tmp_path / "home", "--workers", "2", variables=variables) as server:
            assert httpx.get(f"http://{server.address('REST')}/api/v1/projects").status_code == 200
            assert health(server.address("gRPC")) == health_pb2.HealthCheckResponse.SERVING
            assert server.stop() == 0

    def test_metrics_listener(self, tmp_path: Path) -> None:
        variables = {"FLYTEADMIN__STORAGE__CONNECTION__SECRETKEY": "hunter2", "FLYTEADMIN__REMOTEDATA__REGION": "x"}
        with serving(tmp_path / "home", variables=variables) as server:
            list_projects(server)
            assert counted(server, "flyte:admin:admin:list_projects:success") == 1
            assert counted(server, "flyte:admin:admin:list_projects:codes:OK") == 1
            assert counted(server, "flyte:admin:admin:list_projects:duration_ms_count") == 1
            assert httpx.get(f"{server.metrics}/healthcheck").status_code == 200
            assert httpx.get(f"{server.metrics}/version").json()["Version"]
            assert httpx.get(f"{server.metrics}/none").status_code == 404
            shown = httpx.get(f"{server.metrics}/config").text
            assert json.loads(shown)["home"] == str(tmp_path / "home")
            assert "hunter2" not in shown
            assert "warning: FLYTEADMIN__REMOTEDATA__REGION in the environment has no effect" in server.printed

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_in_time_while_clients_stay(self, tmp_path: Path, number: int) -> None:
        variables = {"FLYTEADMIN__SERVER__GRACEFULSHUTDOWNTIMEOUTSECONDS": "2"}
        with (
            serving(tmp_path / "home", variables=variables) as server,
            httpx.Client(base_url=server.web) as idle,
            grpc.insecure_channel(server.address("REST and gRPC")) as channel,
        ):
            idle.get("/healthcheck")
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            begun = time.monotonic()
            assert server.stop(number) == 0
            # Clients that stay would hold it for ever.
            assert time.monotonic() - begun < 20

    def test_a_second_start_finds_everything_as_it_was(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        with serving(home) as server:
            reply = httpx.post(f"{server.web}/api/v1/projects", json={"project": {"id": "mine", "name": "Mine"}})
            assert reply.status_code == 200, reply.text
        config = home / "config.yaml"
        config.write_text(config.read_text().replace(CONFIG_HEADER, "# mine"))
        with serving(home) as server:
            assert {project["id"] for project in httpx.get(f"{server.web}/api/v1/projects").json()["projects"]} == {
                "flytesnacks",
                "mine",
            }
            assert "migrating" not in server.printed
            assert config.read_text().startswith("# mine")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_moment_of_the_start_is_deaf_to_the_wish_to_stop(tmp_path: Path, workers: str) -> None:
    home = tmp_path / "home"
    with serving(home, "--workers", workers) as server:
        seconds_to_start = time.monotonic() - server.started_at
    for part in range(1, 5):
        process = launch(home, tmp_path / "log", "--workers", workers)
        time.sleep(seconds_to_start * part / 4)
        begun = time.monotonic()
        process.terminate()
        # Before it has begun to listen for signals it simply ends by this one.
        assert process.wait(STOP_SECONDS_MAX) in (0, -signal.SIGTERM)
        # A signal that is lost would let it run for ever.
        assert time.monotonic() - begun < 25, (part, (tmp_path / "log").read_text())
        assert "Traceback" not in (tmp_path / "log").read_text()


class TestSeveralProcesses:
    def test_workers_share_the_ports_the_database_and_the_books(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home", "--workers", "2") as server:
            assert len(children(server.process.pid)) == 2
            for _ in range(40):
                list_projects(server)
            assert counted(server, "flyte:admin:admin:list_projects:success") == 40
            assert server.stop() == 0

    def test_a_dead_worker_is_replaced(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home", "--workers", "2") as server:
            list_projects(server)
            first = children(server.process.pid)
            os.kill(first[0], signal.SIGKILL)
            server.wait_until("worker_died")
            server.wait_until("worker_restarted")
            assert len(children(server.process.pid)) == 2
            assert first[0] not in children(server.process.pid)
            # What the dead one had counted is not lost, so counters never go back.
            list_projects(server)
            assert counted(server, "flyte:admin:admin:list_projects:success") == 2

    def test_the_log_has_the_reason_why_a_worker_cannot_be_started_again(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home", "--workers", "2") as server:
            list_projects(server)
            # Only a worker that starts looks at this file, and it cannot delete a folder.
            (tmp_path / "home" / "storage.key").mkdir()
            os.kill(children(server.process.pid)[0], signal.SIGKILL)
            server.wait_until("worker_cannot_start")
            assert "storage.key" in server.printed

    def test_the_server_ends_when_no_worker_can_start(self, tmp_path: Path) -> None:
        # Python imports this module in each process before any other: workers end at once, the supervisor does not.
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os._exit(7)\n"
        )
        log = tmp_path / "log"
        path = f"{tmp_path}{os.pathsep}{ROOT}"
        process = launch(tmp_path / "home", log, "--workers", "2", variables={"PYTHONPATH": path})
        assert process.wait(60) == 1
        assert "worker_given_up" in log.read_text()
        assert "ended 4 times before it served requests, the last time with exit code 7" in log.read_text()

    def test_workers_do_not_outlive_their_supervisor(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home", "--workers", "2") as server:
            workers = children(server.process.pid)
            assert len(workers) == 2
            server.process.kill()
            server.process.wait()
            wait_for(lambda: not any(map(alive, workers)))

    def test_a_killed_server_leaves_no_lock(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home") as server:
            server.stop(signal.SIGKILL)
        with serving(tmp_path / "home") as server:
            list_projects(server)

    def test_a_worker_that_cannot_start_says_why_once(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        assert run(home, "migrate", "run").returncode == 0
        # Only workers look at this file, and cannot delete a folder.
        (home / "storage.key").mkdir()
        ended = run(home, "serve", "--port", "0", "--grpc-port", "0", "--metrics-port", "0", "--workers", "2")
        assert ended.returncode == 1
        assert ended.stderr.count("flyteadmin:") == 1
        assert "storage" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_two_servers_may_start_at_once_on_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    variables = {"FLYTEADMIN_DATABASE_URL": url, "FLYTEADMIN_STORAGE_URL": str(tmp_path / "storage")}
    with (
        serving(tmp_path / "one", variables=variables) as one,
        serving(tmp_path / "two", variables=variables) as two,
    ):
        assert httpx.get(f"{one.web}/api/v1/projects").json() == httpx.get(f"{two.web}/api/v1/projects").json()
