"""Attempts really run, end in all the ways there are, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flyteidl.core import execution_pb2, tasks_pb2

from app.engine.local.attempts import (
    CannotBuild,
    Dynamic,
    Failed,
    Killed,
    Outcome,
    RunningTask,
    StartFailed,
    Succeeded,
    TaskRun,
)
from app.engine.local.forkserver.stamp import started
from app.engine.local.processes import Runner
from tests.engine.conftest import FLOWS, Bench, literal, run, script

Benches = Callable[..., Bench]
USER, SYSTEM, UNKNOWN = (
    execution_pb2.ExecutionError.USER,
    execution_pb2.ExecutionError.SYSTEM,
    execution_pb2.ExecutionError.UNKNOWN,
)


def with_runner(bench: Bench, main: Callable[[Runner], Awaitable[None]]) -> None:
    """Run main with a runner that is closed afterwards."""

    async def opened() -> None:
        async with bench.runner() as runner:
            await main(runner)

    asyncio.run(opened())


def outcome_of(bench: Bench, attempt: TaskRun) -> Outcome:
    """Run one attempt from its beginning to its end; its private directories must be gone then."""
    outcomes: list[Outcome] = []

    async def main(runner: Runner) -> None:
        outcomes.append(await run(runner, attempt))

    with_runner(bench, main)
    assert sorted(os.listdir(attempt.directory)) == ["exit.json", "log", "process.json"]
    return outcomes[0]


def failure_of(bench: Bench, attempt: TaskRun) -> Failed:
    outcome = outcome_of(bench, attempt)
    assert isinstance(outcome, Failed), outcome
    return outcome


def running_pids(pids: list[int]) -> list[int]:
    return [pid for pid in pids if started(pid)]


async def printed(attempt: TaskRun, text: str, seconds_max: float = 30.0) -> None:
    """Wait until the attempt has printed something."""
    deadline = time.monotonic() + seconds_max
    while text not in (attempt.log_path.read_text() if attempt.log_path.exists() else ""):
        assert time.monotonic() < deadline, f"{text!r} was not printed"
        await asyncio.sleep(0.02)


class TestSuccess:
    @pytest.mark.parametrize("warm", [True, False])
    def test_outputs(self, bench: Benches, warm: bool) -> None:
        made = bench(warm=warm)
        attempt = made.attempt("double", {"x": 21})
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.outputs.literals["o0"] == literal(42)
        assert (outcome.output_uri, outcome.deck_uri) == (f"{attempt.output_prefix}/outputs.pb", "")

    @pytest.mark.parametrize("warm", [True, False])
    def test_no_outputs(self, bench: Benches, warm: bool) -> None:
        made = bench(warm=warm)
        attempt = made.attempt("nothing")
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        assert not outcome.outputs.literals
        assert "nothing to do" in attempt.log_path.read_text()

    def test_a_dynamic_task_gives_a_specification(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("fan_out", {"count": 3})
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Dynamic), outcome
        assert [node.id for node in outcome.spec.nodes] == ["dn0", "dn1", "dn2"]
        assert outcome.futures_uri == f"{attempt.output_prefix}/futures.pb"

    def test_a_map_task_takes_its_index_from_the_environment(self, bench: Benches) -> None:
        made = bench()
        outcome = outcome_of(made, made.attempt("mapped", {"x": [1, 5, 9], "factor": 3}, array_index=1))
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.outputs.literals["o0"] == literal(15)

    def test_a_deck_is_reported(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("with_deck")
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.deck_uri == f"{attempt.output_prefix}/deck.html"
        assert "hello" in Path(outcome.deck_uri).read_text()

    def test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before(self, bench: Benches) -> None:
        made = bench()
        first = made.attempt("resume")
        second = made.attempt("resume", attempt=1, prev_checkpoint=first.checkpoint_prefix)
        counts = [outcome_of(made, attempt) for attempt in (first, second)]
        assert [count.outputs.literals["o0"] for count in counts if isinstance(count, Succeeded)] == [
            literal(1),
            literal(2),
        ]

    def test_parallel_tasks_write_raw_data_to_places_of_their_own(self, bench: Benches) -> None:
        made = bench()
        outcomes: list[Outcome] = []

        async def main(runner: Runner) -> None:
            # The same raw prefix for all of them: only chance keeps their files apart.
            shared = f"{made.blobs.base}/raw/shared"
            attempts = [made.attempt("write_file", {"text": node}, node=node) for node in ("n0", "n1", "n2", "n3")]
            same = [replace(attempt, raw_output_prefix=shared) for attempt in attempts]
            outcomes.extend(await asyncio.gather(*(run(runner, attempt) for attempt in same)))

        with_runner(made, main)
        uris = [o.outputs.literals["o0"].scalar.blob.uri for o in outcomes if isinstance(o, Succeeded)]
        assert len(set(uris)) == 4, outcomes
        assert sorted(Path(uri).read_text() for uri in uris) == ["n0", "n1", "n2", "n3"]


class TestIsolation:
    def test_a_task_sees_its_own_world_and_nothing_of_the_server(
        self, bench: Benches, environment: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLYTEADMIN__DATABASE__POSTGRES__PASSWORD", "secret")
        monkeypatch.setenv("_FSEC_GROUP_KEY", "for tasks")
        made = bench()
        attempt = made.attempt(
            "look", envs={"MINE": "1", "FLYTE_ATTEMPT_NUMBER": "7"}, platform={"FLYTE_PLATFORM_URL": "here:1"}
        )
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        seen = {
            key: value.scalar.primitive.string_value
            for key, value in outcome.outputs.literals["o0"].map.literals.items()
        }
        assert seen["cwd"] == str(attempt.directory / "work")
        assert seen["tmp"] == seen["env.TMPDIR"] == str(attempt.directory / "tmp")
        assert seen["argv0"] == str(environment / "bin" / "pyflyte-execute")
        assert seen["sid"] == seen["pid"]
        paths = seen["path"].split(os.pathsep)
        assert paths[:2] == [str(environment / "bin"), str(FLOWS)]
        assert paths[-1] == seen["cwd"]
        assert not [path for path in paths if "engine/local" in path or path == ""]
        assert not {"forkserver", "app"} & set(seen["modules"].split(","))
        assert (seen["env.MINE"], seen["env.FLYTE_ATTEMPT_NUMBER"]) == ("1", "7")
        assert (seen["env.FLYTE_PLATFORM_URL"], seen["env._FSEC_GROUP_KEY"]) == ("here:1", "for tasks")
        assert seen["env.FLYTE_INTERNAL_EXECUTION_WORKFLOW"] == "p:d:example.wf"
        assert not [name for name in seen if name.startswith("env.FLYTEADMIN")]

    def test_code_of_a_user_in_a_package_named_app_wins(
        self, bench: Benches, serialize: Callable[..., None], tmp_path: Path
    ) -> None:
        """Two distributions with the same package, run at the same time: each task runs the code that came with it."""
        made = bench(python_path="")
        attempts = []
        for index, answer in enumerate((11, 22)):
            source = tmp_path / f"source{index}"
            (source / "app").mkdir(parents=True)
            (source / "app" / "__init__.py").write_text(f"ANSWER = {answer}\n")
            (source / "app" / "wf.py").write_text(
                "from flytekit import task\nfrom app import ANSWER\n\n\n@task\ndef tell() -> int:\n    return ANSWER\n"
            )
            archive = tmp_path / f"fast{index}.tar.gz"
            subprocess.run(["tar", "-czf", str(archive), "-C", str(source), "app"], check=True)
            folder = tmp_path / f"templates{index}"
            folder.mkdir()
            serialize("app.wf", source, folder, str(archive))
            template = tasks_pb2.TaskTemplate.FromString((folder / "tell.pb").read_bytes())
            assert template.container.args[0] == "pyflyte-fast-execute"
            attempts.append(made.attempt(template, node=f"n{index}"))
        outcomes: list[Outcome] = []

        async def main(runner: Runner) -> None:
            assert all([(await runner.prepare(attempt)).warm for attempt in attempts])
            outcomes.extend(await asyncio.gather(*(run(runner, attempt) for attempt in attempts)))

        with_runner(made, main)
        answers = [o.outputs.literals["o0"] for o in outcomes if isinstance(o, Succeeded)]
        assert answers == [literal(11), literal(22)], [attempt.log_path.read_text() for attempt in attempts]

    def test_a_missing_distribution_ends_like_flytekit_ends_it(self, bench: Benches) -> None:
        made = bench()
        template = made.template("double")
        arguments = ["pyflyte-fast-execute", "--additional-distribution", "/nowhere/x.tar.gz", "--dest-dir", ".", "--"]
        arguments += template.container.args
        template.container.ClearField("args")
        template.container.args.extend(arguments)
        failed = failure_of(made, made.attempt(template, {"x": 1}))
        assert (failed.error.kind, failed.error.code, failed.retryable) == (USER, "Error", True)
        assert "task execution code was not found" in failed.error.message


class TestFailure:
    def test_an_exception_of_the_user_is_permanent(self, bench: Benches) -> None:
        made = bench()
        failed = failure_of(made, made.attempt("fail", {"message": "no luck"}))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("USER:RuntimeError", USER, False)
        assert "ValueError: no luck" in failed.error.message
        assert failed.error.timestamp.seconds > 0

    def test_a_recoverable_exception_may_be_retried(self, bench: Benches) -> None:
        made = bench()
        failed = failure_of(made, made.attempt("fail_for_now"))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("USER:Recoverable", USER, True)

    @pytest.mark.parametrize("warm", [True, False])
    def test_an_exit_code(self, bench: Benches, warm: bool) -> None:
        made = bench(warm=warm)
        failed = failure_of(made, made.attempt("leave", {"code": 3}))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("Error", USER, True)
        assert failed.error.message.startswith(
            "\r\n[ex1-n0-0] terminated with exit code (3). Reason [Error]. Message: \n"
        )
        assert failed.error.message.endswith("leaving now.")

    def test_a_kill_by_force_is_a_failure_of_the_system(self, bench: Benches) -> None:
        made = bench()
        failed = failure_of(made, made.attempt("kill_itself"))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("Interrupted", SYSTEM, True)
        assert "terminated with exit code (137)" in failed.error.message

    def test_missing_outputs(self, bench: Benches) -> None:
        made = bench()
        failed = failure_of(made, made.attempt(script("true", outputs=("o0",))))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("OutputsNotFound", UNKNOWN, True)
        assert failed.error.message == "Outputs not generated by task execution"

    def test_a_task_that_declares_no_outputs_needs_none(self, bench: Benches) -> None:
        made = bench()
        outcome = outcome_of(made, made.attempt(script("true")))
        assert isinstance(outcome, Succeeded), outcome

    @pytest.mark.parametrize("name", ["outputs.pb", "futures.pb"])
    def test_outputs_that_are_no_message_are_named(self, bench: Benches, name: str) -> None:
        made = bench()
        text = f"mkdir -p {{{{.outputPrefix}}}}; printf '\\377\\377\\377' > {{{{.outputPrefix}}}}/{name}"
        failed = failure_of(made, made.attempt(script(text, outputs=("o0",))))
        assert (failed.error.code, failed.error.kind) == ("OutputsBadFormat", USER)
        assert f"/{name}] of [3] bytes is not a serialized" in failed.error.message

    def test_an_error_file_that_is_no_message_is_named(self, bench: Benches) -> None:
        made = bench()
        text = "mkdir -p {{.outputPrefix}}; printf '\\377\\377\\377' > {{.outputPrefix}}/error.pb"
        failed = failure_of(made, made.attempt(script(text)))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("ErrorFileBadFormat", SYSTEM, True)

    def test_an_empty_error_file_is_a_failure(self, bench: Benches) -> None:
        made = bench()
        failed = failure_of(made, made.attempt(script("mkdir -p {{.outputPrefix}}; : > {{.outputPrefix}}/error.pb")))
        assert failed.error.code == "ErrorFileBadFormat"
        assert failed.error.message.startswith("error not formatted correctly, nil error @path [")

    def test_outputs_larger_than_the_limit_are_permanent(self, bench: Benches) -> None:
        made = bench()
        text = "mkdir -p {{.outputPrefix}}; head -c 3000000 /dev/zero > {{.outputPrefix}}/outputs.pb"
        failed = failure_of(made, made.attempt(script(text, outputs=("o0",))))
        assert (failed.error.code, failed.retryable) == ("OutputSizeExceeded", False)
        assert "too large [3000000] bytes, max allowed [2097152] bytes" in failed.error.message


class TestCannotBuild:
    def refusal(self, made: Bench, attempt: TaskRun) -> str:
        async def main(runner: Runner) -> None:
            await runner.start(await runner.prepare(attempt))

        with pytest.raises(CannotBuild) as raised:
            with_runner(made, main)
        assert (raised.value.error.code, raised.value.error.kind) == ("FailedToBuildResource", USER)
        message: str = raised.value.error.message
        assert message.startswith("could not build resource for task: ")
        return message

    def test_a_command_that_is_not_there_is_named(self, bench: Benches) -> None:
        made = bench()
        template = tasks_pb2.TaskTemplate(type="container")
        template.container.command.append("no-such-command")
        assert "command [no-such-command] is not found" in self.refusal(made, made.attempt(template))

    def test_a_file_that_the_system_cannot_execute_is_named(self, bench: Benches, tmp_path: Path) -> None:
        made = bench()
        (tmp_path / "broken").write_bytes(b"\x7fELF nothing")
        (tmp_path / "broken").chmod(0o755)
        template = tasks_pb2.TaskTemplate(type="container")
        template.container.command.append(str(tmp_path / "broken"))
        attempt = made.attempt(template)
        assert "cannot be executed: Exec format error" in self.refusal(made, attempt)

        async def again(runner: Runner) -> None:
            running = await runner.adopt(attempt)
            assert running is not None
            outcome = await runner.wait(running)
            assert isinstance(outcome, Failed)
            assert outcome.error.code == "FailedToBuildResource"

        with_runner(made, again)

    def test_a_task_without_a_command(self, bench: Benches) -> None:
        made = bench()
        template = tasks_pb2.TaskTemplate(type="python-task")
        template.container.image = "x"
        assert "has neither command nor args" in self.refusal(made, made.attempt(template))

    def test_a_word_with_a_zero_byte(self, bench: Benches) -> None:
        made = bench()
        assert "zero byte" in self.refusal(made, made.attempt(script("echo \0")))

    def test_arguments_too_long_for_the_system(self, bench: Benches) -> None:
        made = bench()
        assert "Argument list too long" in self.refusal(made, made.attempt(script("#" * 3_000_000)))


class TestKill:
    def test_a_task_that_ends_when_asked(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("sleep", {"seconds": 60.0})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "asleep")
            before = time.monotonic()
            await runner.kill(running)
            assert time.monotonic() - before < 5
            assert await runner.wait(running) == Killed()
            assert not running_pids([running.pid, running.task_pid])

        with_runner(made, main)

    def test_a_task_that_is_deaf_to_sigterm(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("stubborn", {"seconds": 60.0})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "deaf")
            before = time.monotonic()
            await runner.kill(running, grace_seconds=0.5)
            assert 0.5 <= time.monotonic() - before < 5
            assert await runner.wait(running) == Killed()
            assert not running_pids([running.pid, running.task_pid])

        with_runner(made, main)

    def test_the_supervisor_keeps_the_grace_time_when_the_server_is_gone(self, bench: Benches) -> None:
        made = bench(grace_seconds=0.3)
        attempt = made.attempt("stubborn", {"seconds": 60.0})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "deaf")
            os.kill(running.pid, signal.SIGUSR1)
            assert await asyncio.wait_for(runner.wait(running), 10) == Killed()

        with_runner(made, main)

    @pytest.mark.parametrize("leave_at_once", [True, False])
    def test_children_end_with_the_task(self, bench: Benches, tmp_path: Path, leave_at_once: bool) -> None:
        made = bench()
        marker = tmp_path / "pids"
        attempt = made.attempt("parent", {"marker": str(marker), "leave_at_once": leave_at_once})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "bred")
            pids = [int(line) for line in marker.read_text().split()]
            assert len(pids) == 3
            if leave_at_once:
                assert isinstance(await runner.wait(running), Succeeded)
            else:
                assert running_pids(pids) == pids
                await runner.kill(running, grace_seconds=0.2)
            assert not running_pids(pids)

        with_runner(made, main)

    def test_a_signal_to_the_supervisor_from_elsewhere_does_not_stop_it(self, bench: Benches) -> None:
        """A service manager signals all processes of the server; the end of each task must still be known."""
        made = bench()
        attempt = made.attempt("sleep", {"seconds": 0.7})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            os.kill(running.pid, signal.SIGTERM)
            assert isinstance(await runner.wait(running), Succeeded)

        with_runner(made, main)

    def test_a_task_whose_supervisor_is_killed_ends_too_and_counts_as_lost(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("sleep", {"seconds": 60.0})

        async def main(runner: Runner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "asleep")
            os.kill(running.pid, signal.SIGKILL)
            outcome = await asyncio.wait_for(runner.wait(running), 10)
            assert isinstance(outcome, Failed)
            assert (outcome.error.code, outcome.system, outcome.retryable) == ("ResourceDeletedExternally", True, True)
            for _ in range(100):
                if not running_pids([running.task_pid]):
                    break
                await asyncio.sleep(0.05)
            assert not running_pids([running.task_pid])

        with_runner(made, main)


class TestLimits:
    def test_a_long_log_is_cut_with_a_mark_and_keeps_its_end(self, bench: Benches) -> None:
        made = bench(log_bytes_max=100_000)
        attempt = made.attempt("chatter", {"mebibytes": 20})
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        log = attempt.log_path.read_text()
        assert len(log) < 200_000
        assert "[log: limit of 100000 bytes reached, " in log
        assert log.endswith("the very last line\n")

    def test_a_task_that_prints_without_end_is_ended(self, bench: Benches) -> None:
        made = bench(printed_bytes_max=5 * 1024 * 1024)
        failed = failure_of(made, made.attempt("chatter", {"mebibytes": 100_000}))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("LogLimitExceeded", USER, False)
        assert "FLYTEADMIN__ENGINE__LOCAL__PRINTED_BYTES_MAX" in failed.error.message

    def test_a_task_that_breeds_processes_is_ended(self, bench: Benches) -> None:
        made = bench(task_processes_max=20)
        failed = failure_of(made, made.attempt("breed", {"count": 60}))
        assert (failed.error.code, failed.error.kind, failed.retryable) == ("TooManyProcesses", USER, False)

    def test_a_task_that_fills_the_disk_is_ended_and_its_files_are_removed(
        self, bench: Benches, small_disk: Path
    ) -> None:
        made = bench(free_bytes_min=40 * 1024 * 1024)
        attempt = replace(made.attempt("fill_disk", {"mebibytes": 70}), directory=small_disk / "a")
        failed = failure_of(made, attempt)
        assert failed.error.code == "DiskFull", failed
        assert failed.error.kind == USER

    def test_a_task_that_finds_the_disk_full_says_so(self, bench: Benches, small_disk: Path) -> None:
        made = bench(free_bytes_min=0)
        attempt = replace(made.attempt("fill_disk", {"mebibytes": 700}), directory=small_disk / "a")
        failed = failure_of(made, attempt)
        assert "No space left on device" in failed.error.message

    def test_a_full_disk_when_a_task_starts_is_a_failure_of_the_system(self, bench: Benches, small_disk: Path) -> None:
        made = bench()
        attempt = replace(made.attempt("nothing"), directory=small_disk / "a")
        subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'big'}"], capture_output=True, check=False)

        async def main(runner: Runner) -> None:
            prepared = await runner.prepare(attempt)
            with pytest.raises(StartFailed, match="No space left on device"):
                await runner.start(prepared)

        with_runner(made, main)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB; only an administrator can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


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
        """A server that starts an attempt and is killed with no chance to say anything."""
        code = _OTHER_SERVER.format(
            root=str(Path(__file__).parents[2]),
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

    def adopt(self, made: Bench, attempt: TaskRun, then: Callable[[Runner, RunningTask], Awaitable[None]]) -> None:
        async def main(runner: Runner) -> None:
            running = await runner.adopt(attempt)
            assert running is not None
            await asyncio.wait_for(then(runner, running), 30)

        with_runner(made, main)

    def test_a_running_task_is_taken_over(self, bench: Benches) -> None:
        made = bench()
        self.start_elsewhere(made, "sleep", {"seconds": 2.0})

        async def then(runner: Runner, running: RunningTask) -> None:
            assert running_pids([running.pid, running.task_pid]) == [running.pid, running.task_pid]
            outcome = await runner.wait(running)
            assert isinstance(outcome, Succeeded), outcome
            assert outcome.outputs.literals["o0"] == literal(1)

        self.adopt(made, made.attempt("sleep", {"seconds": 2.0}), then)

    @pytest.mark.parametrize(("code", "kind"), [(0, Succeeded), (4, Failed)])
    def test_a_task_that_ended_meanwhile_is_known(self, bench: Benches, code: int, kind: type) -> None:
        made = bench()
        self.start_elsewhere(made, "leave", {"code": code})
        attempt = made.attempt("leave", {"code": code})
        deadline = time.monotonic() + 20
        while not (attempt.directory / "exit.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

        async def then(runner: Runner, running: RunningTask) -> None:
            outcome = await runner.wait(running)
            assert isinstance(outcome, kind), outcome
            if isinstance(outcome, Failed):
                assert "exit code (4)" in outcome.error.message

        self.adopt(made, attempt, then)

    def test_a_task_taken_over_can_be_killed(self, bench: Benches) -> None:
        made = bench()
        self.start_elsewhere(made, "stubborn", {"seconds": 60.0})

        async def then(runner: Runner, running: RunningTask) -> None:
            await runner.kill(running, grace_seconds=0.1)
            assert await runner.wait(running) == Killed()
            assert not running_pids([running.pid, running.task_pid])

        self.adopt(made, made.attempt("stubborn", {"seconds": 60.0}), then)

    def test_nothing_was_started(self, bench: Benches) -> None:
        made = bench()

        async def main(runner: Runner) -> None:
            assert await runner.adopt(made.attempt("nothing")) is None

        with_runner(made, main)

    def test_a_record_that_the_machine_lost_is_a_lost_task(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("nothing")
        attempt.directory.mkdir(parents=True)
        (attempt.directory / "process.json").write_bytes(b"")
        (attempt.directory / "exit.json").write_bytes(b"")

        async def then(runner: Runner, running: RunningTask) -> None:
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

            async def then(runner: Runner, running: RunningTask) -> None:
                await runner.kill(running)
                assert isinstance(await runner.wait(running), Failed)
                assert other.poll() is None

            self.adopt(made, attempt, then)
            other.kill()

    def test_two_servers_start_an_attempt_once(self, bench: Benches, tmp_path: Path) -> None:
        made = bench()
        marker = tmp_path / "marker"
        attempt = made.attempt(script(f"echo run >> {marker}; sleep 0.5"))

        async def main(one: Runner) -> None:
            async with made.runner() as two:
                prepared = await one.prepare(attempt)
                started_twice = await asyncio.gather(*(runner.start(prepared) for runner in (one, two, one, two)))
                assert len({running.pid for running in started_twice}) == 1
                for outcome in await asyncio.gather(*(one.wait(running) for running in started_twice)):
                    assert isinstance(outcome, Succeeded), outcome

        with_runner(made, main)
        assert marker.read_text() == "run\n"
