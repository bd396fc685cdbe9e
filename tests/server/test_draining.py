"""Stopping and signals: clients that keep asking lose no request."""

from __future__ import annotations

import http.client
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import draining
from tests.support.servers import STOP_SECONDS_MAX, Running, launch, serving

pytestmark = pytest.mark.slow

CLIENTS = 8
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


def drains_in(seconds: float) -> dict[str, str]:
    return {"FLYTEADMIN__SERVER__DRAINSECONDS": str(seconds)}


def ask_until_refused(server: Running, lost: list[str], answered: list[int]) -> None:
    host, _, port = server.address("REST and gRPC").partition(":")
    draining.ask_by_http(http.client.HTTPConnection(host, int(port), timeout=10), lost, answered)


def ask_by_grpc(server: Running, lost: list[str], answered: list[int]) -> None:
    draining.ask_by_grpc(grpc.insecure_channel(server.address("REST and gRPC")), lost, answered)


def ask_by_httpx(server: Running, lost: list[str], answered: list[int]) -> None:
    """Send requests over HTTP/2, one after another, until no connection can be made.

    httpx fails an open request when it reads GOAWAY, and sends those again that the server never served.
    """
    with httpx.Client(base_url=server.web, http1=False, http2=True, timeout=10) as client:
        while True:
            try:
                answered.append(client.get("/api/v1/projects").status_code)
            except httpx.ConnectError:
                return
            except httpx.HTTPError as error:
                lost.append(repr(error))
                return


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("ask", [ask_until_refused, ask_by_grpc, ask_by_httpx])
def test_no_request_is_lost_when_the_server_stops(
    tmp_path: Path, workers: str, ask: Callable[[Running, list[str], list[int]], None]
) -> None:
    lost: list[str] = []
    answered: list[int] = []
    with serving(tmp_path / "home", "--workers", workers, variables=drains_in(1)) as server:
        clients = [threading.Thread(target=ask, args=(server, lost, answered)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while len(answered) < 10 * CLIENTS and not lost:
            time.sleep(0.01)
        assert server.stop(signal.SIGTERM) == 0
        for client in clients:
            client.join()
    assert not lost
    assert set(answered) == {200}


def test_a_server_that_drains_is_alive_and_not_ready(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "home", variables=drains_in(2)) as server,
        httpx.Client(base_url=server.web) as client,
        grpc.insecure_channel(server.address("REST and gRPC")) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert client.get("/healthz/ready").json() == {"ready": True, "failing": []}
        server.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        ready = client.get("/healthz/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "failing": ["draining"]})
        assert ready.headers["connection"] == "close"
        assert client.get("/healthz/live").status_code == 200
        assert client.get("/healthcheck").status_code == 200
        assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
        assert server.process.wait(STOP_SECONDS_MAX) == 0


def test_a_hangup_in_the_first_moments_ends_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = launch(tmp_path / "home", log)
    server = Running(process, log)
    try:
        # As soon as the process handles the signal, which is before it imports most of its modules.
        handles = re.compile(r"^SigCgt:.*[13579bdf]$", re.MULTILINE)
        while not handles.search(Path(f"/proc/{process.pid}/status").read_text()):
            assert process.poll() is None
        while "flyteadmin is ready" not in server.printed:
            process.send_signal(signal.SIGHUP)
            assert process.poll() is None, server.printed
            time.sleep(0.01)
        httpx.get(f"{server.web}/api/v1/projects").raise_for_status()
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS_MAX) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_changes_the_level_of_the_log_and_ends_nothing(tmp_path: Path, workers: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("logger: {level: 2}\n")
    with serving(tmp_path / "home", "--workers", workers, "--config", str(config)) as server:
        config.write_text("logger: {level: 4}\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until("logger_settings_reloaded")
        config.write_text("logger: {level: loud}\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until("settings_not_reloaded")
        httpx.get(f"{server.web}/api/v1/projects").raise_for_status()
        assert "worker_died" not in server.printed
