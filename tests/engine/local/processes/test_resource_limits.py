"""A task that uses more memory than its limit ends as OOMKilled with the figure; other tasks go on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import pytest
from flyteidl.core import tasks_pb2

from app.engine.local.processes.commands import container_of
from app.engine.local.processes.pool.claims import gpus_of
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Failed, Outcome, Succeeded
from app.system import system
from tests.engine.conftest import Bench, outcome_of, run, script, with_runner

Memory, Cpu = tasks_pb2.Resources.MEMORY, tasks_pb2.Resources.CPU
# Allocates 300 MiB in a child, whose memory belongs to the task too.
GREEDY = f"{sys.executable} -c 'kept = bytearray(b\"x\") * (300 * 2**20); import time; time.sleep(60)' & wait"


def limited(text: str, **limits: str) -> tasks_pb2.TaskTemplate:
    template = script(text)
    for name, value in limits.items():
        template.container.resources.limits.add(name=tasks_pb2.Resources.ResourceName.Value(name), value=value)
    return template


@pytest.mark.parametrize(
    ("limits", "memory", "cpus"),
    [
        ({}, 0, 0),
        ({"MEMORY": "1Gi", "CPU": "1500m"}, 2**30, 2),
        ({"MEMORY": "200M"}, 200_000_000, 0),
        ({"MEMORY": "much", "CPU": "-1"}, 0, 0),
    ],
)
def test_limits_are_read_from_containers_and_pods(limits: dict[str, str], memory: int, cpus: int) -> None:
    template = limited("true", **limits)
    found = container_of(template, "name")
    assert (found.memory_bytes_max, found.cpus_max) == (memory, cpus)
    pod = tasks_pb2.TaskTemplate(type="sidecar", config={"primary_container_name": "main"})
    pod.k8s_pod.pod_spec.update(
        {
            "containers": [
                {"name": "main", "args": ["x"], "resources": {"limits": {k.lower(): v for k, v in limits.items()}}}
            ]
        }
    )
    found = container_of(pod, "name")
    assert (found.memory_bytes_max, found.cpus_max) == (memory, cpus)


@pytest.mark.slow
def test_only_the_task_over_its_memory_ends_and_its_error_has_the_figure(bench: Callable[..., Bench]) -> None:
    made = bench(processes_max=2)
    outcomes: list[Outcome] = []

    async def main(runner: TaskRunner) -> None:
        greedy = made.attempt(limited(GREEDY, MEMORY="100Mi"), node="n0")
        modest = made.attempt(limited("sleep 3", MEMORY="100Mi"), node="n1")
        outcomes.extend(await asyncio.gather(run(runner, greedy), run(runner, modest)))

    with_runner(made, main)
    failed, other = outcomes
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.kind, failed.retryable) == ("OOMKilled", failed.error.USER, True)
    assert "MiB of memory; the limit of the task is 100 MiB" in failed.error.message
    assert isinstance(other, Succeeded)


@pytest.mark.slow
def test_the_limits_can_be_switched_off(bench: Callable[..., Bench]) -> None:
    made = bench(resource_limits=False)
    text = GREEDY.replace("time.sleep(60)", "time.sleep(1)")
    assert isinstance(outcome_of(made, made.attempt(limited(text, MEMORY="100Mi"))), Succeeded)


@pytest.mark.slow
@pytest.mark.skipif(system.is_portable or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two CPUs")
def test_a_task_runs_on_as_many_cpus_as_its_limit(bench: Callable[..., Bench]) -> None:
    made = bench()
    attempt = made.attempt(limited("nproc", CPU="500m"))
    assert isinstance(outcome_of(made, attempt), Succeeded)
    assert attempt.log_path.read_text().split()[-1] == "1"


@pytest.mark.parametrize(("setting", "ids"), [("2", ("0", "1")), ("3,5", ("3", "5")), ("", ()), ("GPU-a", ("GPU-a",))])
def test_cards_are_a_number_or_a_list(setting: str, ids: tuple[str, ...]) -> None:
    assert gpus_of(setting) == ids


@pytest.mark.slow
def test_tasks_get_cards_of_their_own_and_wait_for_memory(bench: Callable[..., Bench]) -> None:
    made = bench(processes_max=3, gpus="4,7", memory_bytes_max=100 * 2**20)
    text = "echo $CUDA_VISIBLE_DEVICES; date +%s.%N; sleep 0.5; date +%s.%N"
    attempts = [made.attempt(limited(text, GPU="1", MEMORY="10Mi"), node=f"n{number}") for number in range(2)]
    attempts += [made.attempt(limited(text, MEMORY="80Mi"), node=f"n{number}") for number in (2, 3)]

    async def main(runner: TaskRunner) -> None:
        for outcome in await asyncio.gather(*(run(runner, attempt) for attempt in attempts)):
            assert isinstance(outcome, Succeeded)

    with_runner(made, main)
    printed = [attempt.log_path.read_text().splitlines() for attempt in attempts]
    assert {lines[0] for lines in printed[:2]} == {"4", "7"}
    (_, begun, ended), (_, begun_too, ended_too) = printed[2:]
    # Together they want more than the budget.
    assert float(ended) <= float(begun_too) or float(ended_too) <= float(begun)
