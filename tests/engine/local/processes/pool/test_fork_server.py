"""Fork servers start when they are needed, are replaced, and end with their server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import CannotBuild, Failed, Killed, StartFailed, Succeeded
from app.system import system
from tests.engine.conftest import Bench, literal, run, running_pids, script, until_ended, with_runner

Benches = Callable[..., Bench]


def fork_servers(made: Bench, parent: int = 0) -> list[int]:
    """Children of this or another server that log below the home of this bench; supervisors have other parents."""
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            log = os.readlink(f"/proc/{pid}/fd/1")
            parent_of = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if str(made.settings.home_path / "forkservers") in log and parent_of == (parent or os.getpid()):
            found.append(pid)
    return found


def kind_of(pid: int) -> str:
    """Return "warm" or "plain"."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-4]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def other_environment(tmp_path: Path, environment: Path) -> Path:
    """An environment without packages of its own that finds flytekit in the other one."""
    folder = tmp_path / "other"
    subprocess.run([str(environment / "bin" / "python"), "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((environment / "lib").glob("python*/site-packages"))
    next((folder / "lib").glob("python*/site-packages")).joinpath("found.pth").write_text(f"{packages}\n")
    text = (environment / "bin" / "pyflyte-execute").read_text().splitlines()[1:]
    (folder / "bin" / "pyflyte-execute").write_text("\n".join([f"#!{folder}/bin/python", *text]))
    (folder / "bin" / "pyflyte-execute").chmod(0o755)
    return folder


def test_one_fork_server_starts_many_tasks_and_ends_with_the_runner(bench: Benches) -> None:
    made = bench()

    async def main(runner: TaskRunner) -> None:
        attempts = [made.attempt("double", {"x": index}, node=f"n{index}") for index in range(6)]
        outcomes = await asyncio.gather(*(run(runner, attempt) for attempt in attempts))
        assert [o.outputs.literals["o0"] for o in outcomes if isinstance(o, Succeeded)] == [
            literal(2 * index) for index in range(6)
        ]
        assert len(fork_servers(made)) == 1

    with_runner(made, main)
    assert not fork_servers(made)
    assert not list((made.settings.home_path / "forkservers").iterdir())


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_setting_forks_tasks_on_every_system(bench: Benches, everywhere: bool) -> None:
    made = bench(warm_everywhere=everywhere)

    async def main(runner: TaskRunner) -> None:
        outcome = await run(runner, made.attempt("double", {"x": 2}))
        assert isinstance(outcome, Succeeded), outcome
        kinds = [kind_of(pid) for pid in fork_servers(made)]
        assert kinds == ["warm" if everywhere or not system.is_portable else "plain"]

    with_runner(made, main)


def test_a_start_does_not_wait_for_running_tasks(bench: Benches, tmp_path: Path) -> None:
    made = bench(processes_max=8)
    (tmp_path / "started").mkdir()

    async def main(runner: TaskRunner) -> None:
        # Each task ends when all eight have started, and fails after a minute.
        text = "touch {0}/$$; for _ in $(seq 600); do [ $(ls {0} | wc -l) = 8 ] && exit 0; sleep 0.1; done; exit 1"
        task = script(text.format(tmp_path / "started"))
        attempts = [made.attempt(task, node=f"n{index}") for index in range(8)]
        outcomes = await asyncio.gather(*(run(runner, attempt) for attempt in attempts))
        assert all(isinstance(outcome, Succeeded) for outcome in outcomes)

    with_runner(made, main)


def test_an_idle_fork_server_uses_no_cpu(bench: Benches) -> None:
    made = bench()

    async def main(runner: TaskRunner) -> None:
        await run(runner, made.attempt("nothing"))
        (pid,) = fork_servers(made)
        before = cpu_seconds(pid)
        await asyncio.sleep(1.5)
        assert cpu_seconds(pid) == before

    with_runner(made, main)


def test_a_killed_fork_server_is_replaced_and_its_tasks_are_lost(bench: Benches) -> None:
    made = bench()

    async def main(runner: TaskRunner) -> None:
        sleeping = await runner.start(await runner.prepare(made.attempt("sleep", {"seconds": 60.0})))
        (pid,) = fork_servers(made)
        os.kill(pid, signal.SIGKILL)
        with capture_logs() as logs:
            assert isinstance(await run(runner, made.attempt("nothing", node="n1")), Succeeded)
        replaced = [line for line in logs if line["event"] == "fork_server_replaced"]
        assert [(line["pid"], line["exit_code"]) for line in replaced] == [(pid, -signal.SIGKILL)]
        assert pid not in fork_servers(made)
        # The engine starts another attempt.
        outcome = await runner.wait(sleeping)
        assert isinstance(outcome, Failed)
        assert (outcome.error.code, outcome.system) == ("ResourceDeletedExternally", True)

    with_runner(made, main)


def test_a_replaced_fork_server_stays_until_its_last_task_has_ended(bench: Benches) -> None:
    made = bench(warm_tasks_max=1)

    async def main(runner: TaskRunner) -> None:
        sleeping = await runner.start(await runner.prepare(made.attempt("sleep", {"seconds": 60.0})))
        assert isinstance(await run(runner, made.attempt("nothing", node="n1")), Succeeded)
        assert len(fork_servers(made)) == 2
        assert running_pids([sleeping.first.pid]) == [sleeping.first.pid]
        await runner.kill(sleeping)
        assert await runner.wait(sleeping) == Killed()
        await until_ended([sleeping.supervisor.pid])

    with_runner(made, main)
    assert not fork_servers(made)


def test_a_fork_server_is_replaced_after_a_number_of_tasks(bench: Benches) -> None:
    made = bench(warm_tasks_max=2)
    seen = []

    async def main(runner: TaskRunner) -> None:
        for index in range(4):
            assert isinstance(await run(runner, made.attempt("nothing", node=f"n{index}")), Succeeded)
            seen.extend(fork_servers(made))

    with_runner(made, main)
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_a_fork_server_is_replaced_when_packages_changed(bench: Benches, other_environment: Path) -> None:
    made = bench(environment=str(other_environment))

    async def main(runner: TaskRunner) -> None:
        assert isinstance(await run(runner, made.attempt("nothing")), Succeeded)
        (before,) = fork_servers(made)
        (next((other_environment / "lib").glob("python*/site-packages")) / "new.py").write_text("")
        assert isinstance(await run(runner, made.attempt("nothing", node="n1")), Succeeded)
        assert fork_servers(made) != [before]

    with_runner(made, main)


def test_variables_that_are_read_at_the_start_need_another_fork_server(bench: Benches) -> None:
    made = bench()

    async def main(runner: TaskRunner) -> None:
        plain = made.attempt("nothing")
        verbose = made.attempt("nothing", node="n1", envs={"FLYTE_SDK_LOGGING_LEVEL": "10"})
        for attempt in (plain, verbose):
            assert isinstance(await run(runner, attempt), Succeeded)
        assert len(fork_servers(made)) == 2
        assert "Finished _dispatch_execute" in verbose.log_path.read_text()
        assert "Finished _dispatch_execute" not in plain.log_path.read_text()
        # Only so many are kept.
        for index in range(2, 5):
            envs = {"FLYTECTL_CONFIG": f"/nowhere/{index}"}
            await run(runner, made.attempt("nothing", node=f"n{index}", envs=envs))
        assert len(fork_servers(made)) == 4

    with_runner(made, main)


def test_a_flytekit_that_cannot_be_forked_is_run_as_a_process(bench: Benches, other_environment: Path) -> None:
    made = bench(environment=str(other_environment))
    # A thread that exists before the fork would be missing after it.
    (next((other_environment / "lib").glob("python*/site-packages")) / "thread.pth").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )

    async def main(runner: TaskRunner) -> None:
        outcome = await run(runner, made.attempt("double", {"x": 4}))
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.outputs.literals["o0"] == literal(8)

    with_runner(made, main)


def add_plugin(environment: Path) -> Path:
    """Install a plugin of flytekit whose module draws a number and reads a variable when it is imported."""
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "seeded.py").write_text(
        "import os, random, time\n"
        "DRAWN = random.Random(time.time_ns()).random()\n"
        "THREADS = os.environ.get('SEEDED_THREADS', 'unset')\n"
    )
    (packages / "seeded-1.0.dist-info").mkdir()
    (packages / "seeded-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: seeded\nVersion: 1.0\n")
    (packages / "seeded-1.0.dist-info" / "entry_points.txt").write_text("[flytekit.plugins]\nseeded = seeded\n")
    return packages


@pytest.mark.parametrize("at_start", [False, True])
def test_state_that_imports_create_is_replaced_in_every_task(
    bench: Benches, other_environment: Path, at_start: bool
) -> None:
    made = bench(environment=str(other_environment))
    packages = add_plugin(other_environment)
    if at_start:
        (packages / "start.pth").write_text("import seeded\n")
    logs = []

    async def main(runner: TaskRunner) -> None:
        for index in range(2):
            attempt = made.attempt("made_at_import", node=f"n{index}", envs={"SEEDED_THREADS": str(index)})
            assert isinstance(await run(runner, attempt), Succeeded), attempt.log_path.read_text()
            logs.append(attempt.log_path.read_text())

    with_runner(made, main)
    seen = [dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in logs]
    assert seen[0]["drawn"] != seen[1]["drawn"]
    assert [one["threads"] for one in seen] == ["0", "1"]
    for name in ("random", "flytekit", "authkey", "uuid", "temporary"):
        assert seen[0][name] != seen[1][name], name


def test_a_variable_that_the_imports_read_has_an_effect_in_every_task(bench: Benches) -> None:
    made = bench()
    logs = {}

    async def main(runner: TaskRunner) -> None:
        # No list of ours names this one: rich reads it while flytekit imports it.
        for value in ("40", "200"):
            attempt = made.attempt("width_of_console", node=f"n{value}", envs={"COLUMNS": value})
            assert isinstance(await run(runner, attempt), Succeeded), attempt.log_path.read_text()
            logs[value] = attempt.log_path.read_text()
        assert len(fork_servers(made)) in (2, 3)

    with_runner(made, main)
    assert all(f"width={value}" in text for value, text in logs.items())


def environment_with_script(environment: Path, text: str) -> str:
    """Make an environment whose programs are all the same shell script, and return its path."""
    programs = environment / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "pyflyte-execute"):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return str(environment)


def test_an_interpreter_that_does_not_run_is_named_with_its_setting(bench: Benches, tmp_path: Path) -> None:
    made = bench(environment=environment_with_script(tmp_path / "fake", "echo this is no python >&2\nexit 3"))

    async def main(runner: TaskRunner) -> None:
        with pytest.raises(CannotBuild) as raised:
            await run(runner, made.attempt("nothing"))
        assert "this is no python" in raised.value.error.message
        assert "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT" in raised.value.error.message

    with_runner(made, main)


def test_the_environment_is_not_to_blame_for_a_fork_server_that_is_killed_at_its_start(
    bench: Benches, tmp_path: Path
) -> None:
    """For example for lack of memory: a later attempt may start."""
    made = bench(environment=environment_with_script(tmp_path / "fake", "kill -9 $$"))

    async def main(runner: TaskRunner) -> None:
        with pytest.raises(StartFailed) as raised:
            await run(runner, made.attempt("nothing"))
        assert raised.value.failed.retryable
        assert "was killed" in raised.value.failed.error.message

    with_runner(made, main)


def test_a_usage_error_of_flytekit_ends_like_its_command_ends(bench: Benches) -> None:
    made = bench()
    codes = []
    for index, warm in enumerate((True, False)):
        template = made.template("double")
        del template.container.args[1:3]
        attempt = made.attempt(template, {"x": 1}, node=f"n{index}")
        again = bench(warm=warm)

        async def main(runner: TaskRunner) -> None:
            outcome = await run(runner, attempt)  # noqa: B023 - the function is called in the same iteration of the loop.
            assert isinstance(outcome, Failed)
            codes.append(outcome.error.message.replace(attempt.generated_name, "pod"))  # noqa: B023 - as above

        with_runner(again, main)
    assert codes[0] == codes[1]
    assert "exit code (2)" in codes[0]
    assert "--inputs" in codes[0]


def test_the_process_of_a_cancelled_start_can_be_adopted(bench: Benches) -> None:
    made = bench()

    async def main(runner: TaskRunner) -> None:
        attempt = made.attempt("stubborn", {"seconds": 60.0})
        starting = asyncio.create_task(runner.start(await runner.prepare(attempt)))
        await asyncio.sleep(0.05)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        running = await runner.adopt(attempt)
        assert running is not None
        await runner.kill(running, grace_seconds=0)
        assert not system.stamp(running.first.pid)
        # The fork server has not mixed up its answers.
        assert isinstance(await run(runner, made.attempt("nothing", node="n1")), Succeeded)

    with_runner(made, main)


_SERVER = """
import asyncio, pathlib, sys
sys.path.insert(0, {root!r})
from tests.engine.conftest import Bench, run

async def main():
    bench = Bench(pathlib.Path({folder!r}), pathlib.Path({templates!r}), pathlib.Path({environment!r}))
    async with bench.runner() as runner:
        await run(runner, bench.attempt("nothing"))
        print("served", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_fork_server_ends_when_its_server_is_killed(bench: Benches) -> None:
    made = bench()
    code = _SERVER.format(
        root=str(Path(__file__).parents[4]),
        folder=str(made.folder),
        templates=str(made.templates),
        environment=made.settings.engine.local.environment,
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "served\n"
        (pid,) = fork_servers(made, server.pid)
        server.kill()
    deadline = time.monotonic() + 10
    while system.stamp(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
