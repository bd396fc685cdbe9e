"""After a server was killed, the next one adopts running and ended attempts, and starts none twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Failed, Killed, RunningAttempt, Succeeded, TaskAttempt
from tests.engine.conftest import Bench, literal, running_pids, script, until_ended, with_runner

Benches = Callable[..., Bench]

_OTHER_SERVER = """
import asyncio, pathlib, sys
sys.path.insert(0, {root!r})
from tests.engine.conftest import Bench

async def main():
    bench = Bench(pathlib.Path({folder!r}), pathlib.Path({templates!r}), pathlib.Path({environment!r}))
    async with bench.runner() as runner:
        attempt = bench.attempt({task!r}, {inputs!r})
        await runner.start(await runner.prepare(attempt))
        print("started", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


class TestRestart:
    def start_elsewhere(self, made: Bench, task: str, inputs: dict[str, object]) -> None:
        """A server that starts an attempt and is killed by SIGKILL."""
        code = _OTHER_SERVER.format(
            root=str(Path(__file__).parents[4]),
            folder=str(made.folder),
            templates=str(made.templates),
            environment=made.settings.engine.local.environment,
            task=task,
            inputs=inputs,
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "started\n"
            other.kill()

    def adopt(
        self, made: Bench, attempt: TaskAttempt, then: Callable[[TaskRunner, RunningAttempt], Awaitable[None]]
    ) -> None:
        async def main(runner: TaskRunner) -> None:
            running = await runner.adopt(attempt)
            assert running is not None
            await asyncio.wait_for(then(runner, running), 30)

        with_runner(made, main)

    def test_a_running_task_is_taken_over(self, bench: Benches) -> None:
        made = bench()
        self.start_elsewhere(made, "sleep", {"seconds": 2.0})

        async def then(runner: TaskRunner, running: RunningAttempt) -> None:
            pids = [running.supervisor.pid, running.first.pid]
            assert running_pids(pids) == pids
            outcome = await runner.wait(running)
            assert isinstance(outcome, Succeeded), outcome
            assert outcome.outputs.literals["o0"] == literal(1)

        self.adopt(made, made.attempt("sleep", {"seconds": 2.0}), then)

    @pytest.mark.parametrize(("code", "kind"), [(0, Succeeded), (4, Failed)])
    def test_a_task_that_ended_without_a_server_has_an_outcome(self, bench: Benches, code: int, kind: type) -> None:
        made = bench()
        self.start_elsewhere(made, "leave", {"code": code})
        attempt = made.attempt("leave", {"code": code})
        deadline = time.monotonic() + 20
        while not (attempt.directory / "exit.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

        async def then(runner: TaskRunner, running: RunningAttempt) -> None:
            outcome = await runner.wait(running)
            assert isinstance(outcome, kind), outcome
            if isinstance(outcome, Failed):
                assert "exit code (4)" in outcome.error.message

        self.adopt(made, attempt, then)

    def test_a_task_taken_over_can_be_killed(self, bench: Benches) -> None:
        made = bench()
        self.start_elsewhere(made, "stubborn", {"seconds": 60.0})

        async def then(runner: TaskRunner, running: RunningAttempt) -> None:
            await runner.kill(running, grace_seconds=0.1)
            assert await runner.wait(running) == Killed()
            # The fork server of the killed server ends with its last task.
            await until_ended([running.supervisor.pid, running.first.pid])

        self.adopt(made, made.attempt("stubborn", {"seconds": 60.0}), then)

    def test_an_attempt_that_was_never_started_is_not_adopted(self, bench: Benches) -> None:
        made = bench()

        async def main(runner: TaskRunner) -> None:
            assert await runner.adopt(made.attempt("nothing")) is None

        with_runner(made, main)

    def test_a_record_that_the_machine_lost_is_a_lost_task(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("nothing")
        attempt.directory.mkdir(parents=True)
        (attempt.directory / "process.json").write_bytes(b"")
        (attempt.directory / "exit.json").write_bytes(b"")

        async def then(runner: TaskRunner, running: RunningAttempt) -> None:
            outcome = await runner.wait(running)
            assert isinstance(outcome, Failed)
            assert outcome.error.code == "ResourceDeletedExternally"
            await runner.kill(running)

        self.adopt(made, attempt, then)

    def test_a_pid_that_now_belongs_to_another_process_is_left_alone(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("nothing")
        attempt.directory.mkdir(parents=True)
        with subprocess.Popen(["sleep", "60"]) as other:
            record = {"pid": other.pid, "stamp": "another boot:1", "task_pid": other.pid, "started_at": 1.0}
            (attempt.directory / "process.json").write_text(json.dumps(record))

            async def then(runner: TaskRunner, running: RunningAttempt) -> None:
                await runner.kill(running)
                assert isinstance(await runner.wait(running), Failed)
                assert other.poll() is None

            self.adopt(made, attempt, then)
            other.kill()

    def test_two_servers_start_an_attempt_once(self, bench: Benches, tmp_path: Path) -> None:
        made = bench()
        marker = tmp_path / "marker"
        attempt = made.attempt(script(f"echo run >> {marker}; sleep 0.5"))

        async def main(one: TaskRunner) -> None:
            async with made.runner() as two:
                prepared = await one.prepare(attempt)
                started_twice = await asyncio.gather(*(runner.start(prepared) for runner in (one, two, one, two)))
                assert len({running.first.pid for running in started_twice}) == 1
                for outcome in await asyncio.gather(*(one.wait(running) for running in started_twice)):
                    assert isinstance(outcome, Succeeded), outcome

        with_runner(made, main)
        assert marker.read_text() == "run\n"
