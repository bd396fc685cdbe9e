"""How many small tasks the local engine starts, and what each costs beyond its own work, of which there is none."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, types_pb2
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from benchmarks import messages
from tests.engine import environment
from tests.support.servers import Running, serving

FLOWS = Path(__file__).with_name("flows")
# A workflow may have a hundred nodes unless the configuration allows more.
ROUNDS, EXECUTIONS, NODES = 5, 2, 100
ALONE = 5
# In each portion of the floor.
FORKS = 60
WAIT_SECONDS_MAX = 300
_ENDED = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")


@dataclass(frozen=True)
class Kind:
    """A kind of small task."""

    name: str
    task: task_pb2.TaskCreateRequest
    reuse_workers: bool = False


def kinds() -> list[Kind]:
    """A raw container, whose command is executed; a Python task, forked from a process that has flytekit imported; a
    Python task in a worker that has run others.
    """
    container = task_pb2.TaskCreateRequest(id=messages.identifier(identifier_pb2.TASK, "container", "v1"))
    template = container.spec.template
    template.type = "raw-container"
    template.metadata.runtime.version = "1"
    template.interface.SetInParent()
    template.container.image = "debian"
    template.container.command.append("/bin/true")
    python = messages.task("small.step", "v1")
    return [Kind("container", container), Kind("python", python), Kind("reused python", python, reuse_workers=True)]


class Client:
    """What the benchmark asks of the server."""

    def __init__(self, server: Running) -> None:
        self._base = f"{server.web}/api/v1"

    def call(self, path: str, message: Message | None = None) -> Any:
        """GET, or POST with a message. errors: HTTPError"""
        body = None if message is None else MessageToJson(message, preserving_proto_field_name=True).encode()
        request = urllib.request.Request(
            self._base + path, body, {"accept": "application/json", "content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def register(self, kind: Kind, nodes: int) -> str:
        """Register a workflow of so many nodes side by side, with its launch plan; their name."""
        name = f"{kind.task.id.name}-{nodes}"
        request = workflow_pb2.WorkflowCreateRequest(id=messages.identifier(identifier_pb2.WORKFLOW, name, "v1"))
        template = request.spec.template
        inputs = kind.task.spec.template.interface.inputs.variables
        if inputs:
            template.interface.inputs.variables["x"].type.simple = types_pb2.INTEGER
        for number in range(nodes):
            node = template.nodes.add(id=f"n{number}")
            node.task_node.reference_id.CopyFrom(kind.task.id)
            if inputs:
                promise = node.inputs.add(var="x").binding.promise
                promise.node_id, promise.var = "start-node", "x"
        self.call("/workflows", request)
        plan = launch_plan_pb2.LaunchPlanCreateRequest(id=messages.identifier(identifier_pb2.LAUNCH_PLAN, name, "v1"))
        plan.spec.workflow_id.CopyFrom(request.id)
        plan.spec.max_parallelism = nodes
        self.call("/launch_plans", plan)
        return name

    def launch(self, plan: str, kind: Kind) -> str:
        """Launch it; the execution's name."""
        request = messages.execution("", plan, "v1")
        if not kind.task.spec.template.interface.inputs.variables:
            request.ClearField("inputs")
        return str(self.call("/executions", request)["id"]["name"])

    def wait(self, names: list[str], pause_seconds: float) -> None:
        """Wait for the end of executions, which all have to succeed."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        for name in names:
            path = f"/executions/{messages.PROJECT}/{messages.DOMAIN}/{name}"
            while (closure := self.call(path)["closure"])["phase"] not in _ENDED:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"execution {name} has not ended within {WAIT_SECONDS_MAX} s")
                time.sleep(pause_seconds)
            if closure["phase"] != "SUCCEEDED":
                raise RuntimeError(f"execution {name}: {closure}")


@contextmanager
def served(folder: Path, *, reuse_workers: bool) -> Iterator[Running]:
    """A server of one process on SQLite, with as many tasks at once as there are CPUs."""
    variables = {
        "FLYTEADMIN_ENGINE": "local",
        "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(environment.path()),
        "FLYTEADMIN__ENGINE__LOCAL__PYTHON_PATH": str(FLOWS),
        "FLYTEADMIN__ENGINE__LOCAL__REUSEWORKERS": str(reuse_workers).lower(),
    }
    home = "home-engine-reused" if reuse_workers else "home-engine"
    with serving(folder / home, variables=variables) as server:
        yield server


@contextmanager
def floors() -> Iterator[Callable[[], float]]:
    """Yield a function that measures the floor: the CPU time in milliseconds of a fork of a process with flytekit."""
    python = environment.path() / "bin" / "python"
    command = [str(python), str(FLOWS / "floor.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        given, printed = process.stdin, process.stdout
        assert given is not None
        assert printed is not None

        def measure_floor() -> float:
            given.write(f"{FORKS}\n")
            given.flush()
            return float(printed.readline())

        # The first forks copy pages that later ones find copied.
        measure_floor()
        yield measure_floor


def cpu_seconds(root: psutil.Process) -> float:
    """User and system time of a process and all its descendants so far, with those that have ended."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            # A process that has ended counts in the one that waited for it.
            total += used.user + used.system + used.children_user + used.children_system
    return total


def measure(server: Running, kind: Kind) -> dict[str, Any]:
    """Some tasks one after the other, then a thousand in rounds, with a portion of the floor around each round."""
    client = Client(server)
    client.call("/tasks", kind.task)
    one, many = client.register(kind, 1), client.register(kind, NODES)
    # The first task starts the process that the others are forked from.
    client.wait([client.launch(one, kind)], 0.01)
    alone = []
    for _ in range(ALONE):
        started = time.monotonic()
        client.wait([client.launch(one, kind)], 0.005)
        alone.append(time.monotonic() - started)
    process = psutil.Process(server.process.pid)
    with floors() as floor:
        portions, rounds = [floor()], []
        for _ in range(ROUNDS):
            rounds.append(_round(client, kind, many, process))
            portions.append(floor())
    # The speed of a machine changes within seconds, so each round is compared with the portions around it.
    around = [(before + after) / 2 for before, after in pairwise(portions)]
    tasks, places = EXECUTIONS * NODES, os.cpu_count() or 1
    seconds = statistics.median(one.seconds for one in rounds)
    return {
        "kind": kind.name,
        "tasks": ROUNDS * tasks,
        "at_once": places,
        "seconds": round(sum(one.seconds for one in rounds), 2),
        "tasks_per_second": round(tasks / seconds, 1),
        "overhead_ms_per_task": round(seconds * places / tasks * 1000, 1),
        "cpu_ms_per_task": round(statistics.median(one.all_ms for one in rounds), 1),
        "server_cpu_ms_per_task": round(statistics.median(one.server_ms for one in rounds), 1),
        "floor_cpu_ms": round(statistics.median(portions), 2),
        "floor_cpu_ms_portions": [round(one, 2) for one in portions],
        "cpu_to_floor": _median_ratio([one.all_ms for one in rounds], around),
        "server_cpu_to_floor": _median_ratio([one.server_ms for one in rounds], around),
        "one_alone_seconds": round(statistics.median(alone), 3),
    }


@dataclass(frozen=True)
class Round:
    """The time of a round, and its CPU time per task in milliseconds: of all processes, and of the server alone."""

    seconds: float
    all_ms: float
    server_ms: float


def _round(client: Client, kind: Kind, plan: str, process: psutil.Process) -> Round:
    before, before_all, started = process.cpu_times(), cpu_seconds(process), time.monotonic()
    client.wait([client.launch(plan, kind) for _ in range(EXECUTIONS)], 0.1)
    seconds, after = time.monotonic() - started, process.cpu_times()
    of_server = after.user + after.system - before.user - before.system
    per_task = 1000 / (EXECUTIONS * NODES)
    return Round(seconds, (cpu_seconds(process) - before_all) * per_task, of_server * per_task)


def _median_ratio(values: Sequence[float], floors: Sequence[float]) -> float:
    return round(statistics.median(value / floor for value, floor in zip(values, floors, strict=True)), 2)


def line(figures: dict[str, Any]) -> str:
    """The figures as text."""
    portions = figures["floor_cpu_ms_portions"]
    return (
        f"engine, {figures['kind']} tasks: {figures['tasks_per_second']} a second, {figures['at_once']} at once; "
        f"{figures['overhead_ms_per_task']} ms of a place for each, {figures['server_cpu_ms_per_task']} ms CPU of the "
        f"server ({figures['server_cpu_to_floor']} times the floor), {figures['cpu_ms_per_task']} ms of all processes "
        f"({figures['cpu_to_floor']} times); the floor, a fork of flytekit, took {figures['floor_cpu_ms']} ms "
        f"({min(portions)} to {max(portions)}); one alone {figures['one_alone_seconds']} s from launch to end"
    )
