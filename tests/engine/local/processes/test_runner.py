"""Attempts with real processes: outcomes, isolation, limits, kills, and the files that they leave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flyteidl.core import errors_pb2, execution_pb2, security_pb2, tasks_pb2

from app.engine.local.processes.forkserver.layout import TERMINATE
from app.engine.local.processes.pool.spec import temporary_link
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import (
    CannotBuild,
    Dynamic,
    Failed,
    Killed,
    Outcome,
    StartFailed,
    Succeeded,
    TaskAttempt,
)
from tests.engine.conftest import (
    FLOWS,
    Bench,
    failure_of,
    literal,
    outcome_of,
    printed,
    run,
    running_pids,
    script,
    with_runner,
)
from tests.engine.local.processes.test_environment import a_wheel

Benches = Callable[..., Bench]
USER, SYSTEM, UNKNOWN = (
    execution_pb2.ExecutionError.USER,
    execution_pb2.ExecutionError.SYSTEM,
    execution_pb2.ExecutionError.UNKNOWN,
)


class TestSuccess:
    @pytest.mark.parametrize("warm", [True, False])
    @pytest.mark.smoke
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

        async def main(runner: TaskRunner) -> None:
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
    def test_a_task_has_its_own_folders_and_variables_and_none_of_the_servers(
        self, bench: Benches, environment: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLYTEADMIN__DATABASE__POSTGRES__PASSWORD", "secret")
        monkeypatch.setenv("_FSEC_GROUP_KEY", "for tasks")
        monkeypatch.setenv("_FSEC_OTHER", "for other tasks")
        made = bench()
        template = made.template("look")
        template.container.image = "localhost:5000/spec:tag"
        template.security_context.secrets.add(group="group", key="key", env_var="MY_SECRET")
        attempt = made.attempt(
            template, envs={"MINE": "1", "FLYTE_ATTEMPT_NUMBER": "7"}, platform={"FLYTE_PLATFORM_URL": "here:1"}
        )
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), outcome
        seen = {
            key: value.scalar.primitive.string_value
            for key, value in outcome.outputs.literals["o0"].map.literals.items()
        }
        assert seen["cwd"] == str(attempt.directory / "work")
        assert seen["tmp"] == seen["env.TMPDIR"] == str(temporary_link(attempt.directory))
        assert len(seen["tmp"]) < 40
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
        assert not [name for name in seen if name.startswith("env.FLYTEADMIN") or name == "env._FSEC_OTHER"]
        assert seen["env.MY_SECRET"] == "for tasks"

    @pytest.mark.parametrize("warm", [True, False])
    def test_a_secret_has_the_requested_form_and_is_deleted_with_the_attempt(
        self, bench: Benches, monkeypatch: pytest.MonkeyPatch, warm: bool
    ) -> None:
        monkeypatch.setenv("_FSEC_G3_V2_K2", "k2secret")
        made = bench(warm=warm)
        template = made.template("read_secrets")
        kinds = security_pb2.Secret.MountType
        template.security_context.secrets.add(group="g3", group_version="v2", key="K2", env_var="VALUE")
        template.security_context.secrets.add(
            group="g3", group_version="v2", key="K2", env_var="FILE", mount_requirement=kinds.FILE
        )
        attempt = made.attempt(template)
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), attempt.log_path.read_text()
        assert "value=k2secret file=k2secret flytekit=k2secret" in attempt.log_path.read_text()

    def test_a_missing_secret_fails_the_attempt_before_it_starts(self, bench: Benches) -> None:
        made = bench()
        template = made.template("nothing")
        template.security_context.secrets.add(group="g3", key="K2")
        attempt = made.attempt(template)

        async def main(runner: TaskRunner) -> None:
            with pytest.raises(CannotBuild) as raised:
                await runner.prepare(attempt)
            assert "variable [_FSEC_G3_K2]" in raised.value.error.message
            assert "file [/etc/secrets/g3/k2]" in raised.value.error.message

        with_runner(made, main)
        assert not attempt.directory.exists()

    @pytest.mark.parametrize("warm", [True, False])
    def test_a_unix_socket_has_room_in_the_temporary_folder(self, bench: Benches, warm: bool) -> None:
        made = bench(warm=warm)
        attempt = replace(made.attempt("share"), directory=made.folder / ("deep" * 40) / ("er" * 60))
        outcome = outcome_of(made, attempt)
        assert isinstance(outcome, Succeeded), attempt.log_path.read_text()
        assert outcome.outputs.literals["o0"] == literal(4)
        assert not os.path.lexists(temporary_link(attempt.directory))

    @pytest.mark.parametrize("warm", [True, False])
    def test_is_container_is_true_for_the_image_of_the_task(self, bench: Benches, warm: bool) -> None:
        made = bench(warm=warm)
        for index, template in enumerate(("in_image", "double")):
            attempt = made.attempt(template, {"x": 1} if template == "double" else {}, node=f"n{index}")
            assert isinstance(outcome_of(made, attempt), Succeeded), attempt.log_path.read_text()
            imported = [line for line in attempt.log_path.read_text().splitlines() if line.startswith("inside=")]
            assert imported == ([f"inside={template == 'in_image'}"] if template == "in_image" else [])

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

        async def main(runner: TaskRunner) -> None:
            assert all([(await runner.prepare(attempt)).spec.preload for attempt in attempts])
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
    @pytest.mark.smoke
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

    @pytest.mark.parametrize("reported", [True, False])
    @pytest.mark.parametrize("use", ["default", "folder", "list"])
    def test_the_error_of_a_missing_module_names_what_to_change(
        self, bench: Benches, tmp_path: Path, environment: Path, use: str, reported: bool
    ) -> None:
        listed = tmp_path / "packages.txt"
        # Nothing has to be downloaded for this list.
        listed.write_text(f"--no-index --find-links {tmp_path}\n{a_wheel(tmp_path, '1.0')}\n")
        chosen = {"default": "default", "folder": str(environment), "list": str(listed)}[use]
        rule = {"image": "me:*", "use": chosen}
        made = bench(requirements=[str(a_wheel(tmp_path, "1.0"))], environments={"images": [rule]})
        error = "ModuleNotFoundError: No module named 'pandas.core'"
        document = errors_pb2.ErrorDocument()
        document.error.code, document.error.message = "USER", error
        (tmp_path / "error.pb").write_bytes(document.SerializeToString())
        copied = f"mkdir -p {{{{.outputPrefix}}}}; cp {tmp_path}/error.pb {{{{.outputPrefix}}}}/error.pb"
        template = script(copied if reported else f'echo "{error}"; exit 1')
        template.container.image = "me:tag"
        message = failure_of(made, made.attempt(template)).error.message
        said, advice = message.split("\n\n")
        assert "No module named 'pandas.core'" in said
        assert {
            "default": f"missing in {environment}, which FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT names",
            "folder": f"Module 'pandas' is missing in {environment.resolve()}, the environment of image [me:tag]",
            "list": f"Add its package to {listed}, to which engine.local.environments.images maps image [me:tag]",
        }[use] in advice

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
        text = "mkdir -p {{.outputPrefix}}; head -c 11000000 /dev/zero > {{.outputPrefix}}/outputs.pb"
        failed = failure_of(made, made.attempt(script(text, outputs=("o0",))))
        assert (failed.error.code, failed.retryable) == ("OutputSizeExceeded", False)
        assert (
            "too large [11000000] bytes, max allowed [10485760] bytes (storage.limits.maxDownloadMBs)"
            in failed.error.message
        )


class TestCannotBuild:
    def refusal(self, made: Bench, attempt: TaskAttempt) -> str:
        async def main(runner: TaskRunner) -> None:
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

        async def again(runner: TaskRunner) -> None:
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

        async def main(runner: TaskRunner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "asleep")
            before = time.monotonic()
            await runner.kill(running)
            assert time.monotonic() - before < 20
            assert await runner.wait(running) == Killed()
            assert not running_pids([running.first.pid])

        with_runner(made, main)

    def test_a_task_that_ignores_sigterm(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("stubborn", {"seconds": 60.0})

        async def main(runner: TaskRunner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "deaf")
            before = time.monotonic()
            await runner.kill(running, grace_seconds=0.5)
            assert 0.5 <= time.monotonic() - before < 20
            assert await runner.wait(running) == Killed()
            assert not running_pids([running.first.pid])

        with_runner(made, main)

    def test_the_supervisor_keeps_the_grace_time_when_the_server_is_gone(self, bench: Benches) -> None:
        made = bench(grace_seconds=0.3)
        attempt = made.attempt("stubborn", {"seconds": 60.0})

        async def main(runner: TaskRunner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "deaf")
            assert running.request_stop(TERMINATE)
            assert await asyncio.wait_for(runner.wait(running), 10) == Killed()

        with_runner(made, main)

    @pytest.mark.parametrize("leave_at_once", [True, False])
    def test_children_end_with_the_task(self, bench: Benches, tmp_path: Path, leave_at_once: bool) -> None:
        made = bench()
        marker = tmp_path / "pids"
        attempt = made.attempt("parent", {"marker": str(marker), "leave_at_once": leave_at_once})

        async def main(runner: TaskRunner) -> None:
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

        async def main(runner: TaskRunner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            os.kill(running.supervisor.pid, signal.SIGTERM)
            assert isinstance(await runner.wait(running), Succeeded)

        with_runner(made, main)

    def test_a_task_whose_supervisor_is_killed_ends_too_and_counts_as_lost(self, bench: Benches) -> None:
        made = bench()
        attempt = made.attempt("sleep", {"seconds": 60.0})

        async def main(runner: TaskRunner) -> None:
            running = await runner.start(await runner.prepare(attempt))
            await printed(attempt, "asleep")
            os.kill(running.supervisor.pid, signal.SIGKILL)
            outcome = await asyncio.wait_for(runner.wait(running), 10)
            assert isinstance(outcome, Failed)
            assert (outcome.error.code, outcome.system, outcome.retryable) == ("ResourceDeletedExternally", True, True)
            for _ in range(100):
                if not running_pids([running.first.pid]):
                    break
                await asyncio.sleep(0.05)
            assert not running_pids([running.first.pid])

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

    def test_a_task_with_too_many_processes_is_ended(self, bench: Benches) -> None:
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

    def test_a_task_on_a_full_disk_reports_it(self, bench: Benches, small_disk: Path) -> None:
        made = bench(free_bytes_min=0)
        attempt = replace(made.attempt("fill_disk", {"mebibytes": 700}), directory=small_disk / "a")
        failed = failure_of(made, attempt)
        assert "No space left on device" in failed.error.message

    def test_a_full_disk_when_a_task_starts_is_a_failure_of_the_system(self, bench: Benches, small_disk: Path) -> None:
        made = bench()
        attempt = replace(made.attempt("nothing"), directory=small_disk / "a")
        subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'big'}"], capture_output=True, check=False)

        async def main(runner: TaskRunner) -> None:
            prepared = await runner.prepare(attempt)
            with pytest.raises(StartFailed, match="No space left on device"):
                await runner.start(prepared)

        with_runner(made, main)
