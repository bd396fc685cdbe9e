"""The load: wrk for REST, grpcload or ghz for gRPC, with the settings that Go's figures were taken with.

ghz reads each reply into a message of its own, which costs it 1 ms and more for a workflow: on a machine that server
and client share, that hides the server. grpcload only moves bytes.
"""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flyteidl.service import admin_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from benchmarks.routes import UNIQUE, Route, as_json
from benchmarks.servers import Missing, Served

THREADS, CONNECTIONS = 2, 16
GRPC_CONNECTIONS = 4
_SCRIPT = Path(__file__).with_name("wrk.lua")
_runs = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """What one run of a client saw. requests: with those that failed. cpu_seconds: what the client itself took."""

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    problem: str = ""

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


@cache
def tool(name: str) -> str:
    """The path of a client. errors: Missing"""
    advice = {
        "wrk": "on Debian and Ubuntu: apt-get install wrk",
        "grpcload": "with Go on the PATH `make bench` builds it; --route 'GET /' --route POST leaves gRPC out",
        "ghz": "go install github.com/bojand/ghz/cmd/ghz@v0.120.0",
    }
    local = Path(".cache/bench") / name
    found = str(local.absolute()) if local.exists() else shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not on this machine; {advice[name]}")
    return found


def need(routes: list[Route], ghz: bool) -> None:
    """Look for the clients before anything is started. errors: Missing"""
    tool("wrk")
    if any(route.call for route in routes):
        tool("ghz" if ghz else "grpcload")


def rest(route: Route, url: str, folder: Path, seconds: int, token: Path | None = None) -> Load:
    """Requests of a route for some seconds. token: a file with the bearer token."""
    paths, body = folder / "paths", folder / "body"
    paths.write_text("".join(f"{path}\n" for path in route.paths))
    body.write_text(route.body)
    method = "POST" if route.body else "GET"
    options = [f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", "-s", str(_SCRIPT), url]
    arguments = [method, str(paths), str(body) if route.body else "-", f"r{next(_runs)}", str(token or "-")]
    printed, cpu_seconds = run_to_end([tool("wrk"), *options, "--", *arguments])
    seen = json.loads(printed.strip().splitlines()[-1])
    return Load(seen["requests"], seen["errors"], seen["seconds"], seen["p50_ms"], seen["p99_ms"], cpu_seconds)


def grpc(route: Route, server: Served, folder: Path, seconds: int) -> Load:
    """Calls of a route for some seconds."""
    requests = folder / "requests"
    requests.write_text("".join(f"{request.SerializeToString().hex()}\n" for request in route.requests))
    arguments = [str(requests), str(CONNECTIONS), str(GRPC_CONNECTIONS), str(seconds), f"r{next(_runs)}"]
    arguments += [str(server.token)] if server.token else []
    printed, cpu_seconds = run_to_end([tool("grpcload"), server.grpc, f"/{route.call}", *arguments])
    return Load(**json.loads(printed), cpu_seconds=cpu_seconds)


def with_ghz(route: Route, server: Served, folder: Path, seconds: int) -> Load:
    """The same with ghz."""
    data = folder / "data.json"
    # ghz fills templates in: a request's number is unique within a run.
    unique = f"r{next(_runs)}-{{{{.RequestNumber}}}}"
    requests = ",".join(as_json(request) for request in route.requests)
    data.write_text(f"[{requests}]".replace(UNIQUE, unique))
    options = ["--insecure", "--protoset", str(_protoset(folder)), "--call", route.call, "-D", str(data)]
    options += ["-c", str(CONNECTIONS), "--connections", str(GRPC_CONNECTIONS), "-z", f"{seconds}s"]
    options += ["--duration-stop", "wait", "-O", "json"]
    if UNIQUE not in requests:
        options += ["--disable-template-data", "--disable-template-functions"]
    printed, cpu_seconds = run_to_end([tool("ghz"), *options, server.grpc])
    seen = json.loads(printed)
    good = seen["statusCodeDistribution"].get("OK", 0)
    percentiles = {one["percentage"]: one["latency"] / 1e6 for one in seen["latencyDistribution"] or ()}
    return Load(
        requests=seen["count"],
        errors=seen["count"] - good,
        seconds=seen["total"] / 1e9,
        p50_ms=percentiles.get(50, 0.0),
        p99_ms=percentiles.get(99, 0.0),
        cpu_seconds=cpu_seconds,
        problem=next(iter(seen.get("errorDistribution", ())), ""),
    )


def run(route: Route, server: Served, folder: Path, seconds: int, *, ghz: bool = False) -> Load:
    """Requests or calls of a route for some seconds."""
    if not route.call:
        return rest(route, server.rest, folder, seconds, server.token)
    return (with_ghz if ghz else grpc)(route, server, folder, seconds)


def run_to_end(command: list[str]) -> tuple[str, float]:
    """What a command printed, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _protoset(folder: Path) -> Path:
    """AdminService with everything that it imports, as ghz reads it."""
    path = folder / "admin.protoset"
    if not path.exists():
        files: dict[str, FileDescriptor] = {}
        _collect(admin_pb2.DESCRIPTOR, files)
        made = descriptor_pb2.FileDescriptorSet()
        for file in files.values():
            file.CopyToProto(made.file.add())
        path.write_bytes(made.SerializeToString())
    return path


def _collect(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    if file.name not in files:
        for imported in file.dependencies:
            _collect(imported, files)
        files[file.name] = file
