"""No task can stop the supervisor, which other tasks share."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Succeeded
from tests.engine.conftest import Bench, run, script, with_runner

# Reads its own output, so that the supervisor finds the pipe empty after the system has reported data.
_READS_ITS_OUTPUT = "(cat /proc/self/fd/1 >/dev/null &) ; for _ in $(seq 20000); do echo x; done; sleep 1"
_REMOVES_ITS_FOLDER = 'rm -rf "$(dirname "$PWD")"; sleep 2'
_BLOCKS_THE_REQUEST = 'mkdir -p "$(dirname "$PWD")/stop"; kill -USR1 $PPID; sleep 1'
_PIPE_AS_REQUEST = 'mkfifo "$(dirname "$PWD")/stop"; kill -USR1 $PPID; sleep 1'


@pytest.mark.slow
@pytest.mark.parametrize("text", [_READS_ITS_OUTPUT, _REMOVES_ITS_FOLDER, _BLOCKS_THE_REQUEST, _PIPE_AS_REQUEST])
def test_others_run_on(tmp_path: Path, environment: Path, text: str) -> None:
    made = Bench(tmp_path, tmp_path, environment, processes_max=8)

    async def main(runner: TaskRunner) -> None:
        other = await runner.start(await runner.prepare(made.attempt(script("sleep 2"), node="other")))
        hostile = asyncio.ensure_future(run(runner, made.attempt(script(text), node="hostile")))
        assert isinstance(await asyncio.wait_for(runner.wait(other), 15), Succeeded)
        assert isinstance(
            await asyncio.wait_for(run(runner, made.attempt(script("true"), node="later")), 15), Succeeded
        )
        await asyncio.wait_for(hostile, 20)

    with_runner(made, main)
