"""A task gets a token in a private file that is replaced while the task runs, and removed with the attempt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from flyteidl.core import identifier_pb2, tasks_pb2

from app.auth.task_tokens import TaskTokens, signing_key
from app.engine.local.processes.platform_access import FILE_VARIABLE, PlatformAccess
from app.engine.local.processes.pool.process_pool import write_private
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Succeeded, TaskAttempt
from tests.engine.conftest import Bench, run, script

KEY = signing_key(b"secret")


def attempt(folder: Path) -> TaskAttempt:
    return TaskAttempt(
        execution=identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="e1"),
        workflow_name="w",
        task=tasks_pb2.TaskTemplate(),
        node_unique_id="n0",
        attempt=0,
        generated_name="e1-n0-0",
        directory=folder,
        input_uri="",
        output_prefix="",
        raw_output_prefix="",
        checkpoint_prefix="",
        principal="ada",
        execution_identity="robot",
    )


async def _until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.005)


def test_without_authentication_a_task_gets_nothing(tmp_path: Path) -> None:
    access = PlatformAccess(None)
    assert access.variables(attempt(tmp_path), {}) == {}
    assert access.files(attempt(tmp_path)) == {}


def test_the_token_is_in_a_file_and_in_no_variable(tmp_path: Path) -> None:
    access = PlatformAccess(TaskTokens(KEY, 60))
    ((path, token),) = access.files(attempt(tmp_path)).items()
    assert access.variables(attempt(tmp_path), {}) == {
        FILE_VARIABLE: str(path),
        "FLYTE_CREDENTIALS_AUTH_MODE": "external_process",
        "FLYTE_CREDENTIALS_COMMAND": f'sh,-c,cat "${FILE_VARIABLE}"',
    }
    claims = jwt.decode(token, KEY, algorithms=["HS256"])
    names = ("sub", "project", "domain", "execution", "node", "execution_identity")
    assert tuple(claims[name] for name in names) == ("ada", "p", "d", "e1", "n0", "robot")


def test_a_task_with_its_own_credentials_keeps_them(tmp_path: Path) -> None:
    given = {"FLYTE_CREDENTIALS_AUTH_MODE": "ClientSecret"}
    assert set(PlatformAccess(TaskTokens(KEY, 60)).variables(attempt(tmp_path), given)) == {FILE_VARIABLE}


def test_the_token_is_replaced_while_the_task_runs(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    access = PlatformAccess(TaskTokens(KEY, 0.03, clock=lambda: now[0]))
    write_private(access.files(attempt(tmp_path)))
    (path,) = access.files(attempt(tmp_path))
    first = path.read_text()

    async def scenario() -> None:
        async with access.renewing(attempt(tmp_path)):
            for _ in range(3):
                before, now[0] = path.read_text(), now[0] + 10
                await _until(lambda before=before: path.read_text() != before)
                assert os.stat(path).st_mode & 0o777 == 0o600

    asyncio.run(scenario())
    assert path.read_text() != first
    assert [one.name for one in path.parent.iterdir()] == ["token"]


def test_an_attempt_of_a_server_without_authentication_gets_no_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PlatformAccess(TaskTokens(KEY, 0.01)).renewing(attempt(tmp_path)):
            await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_cannot_be_written_is_logged_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = PlatformAccess(TaskTokens(KEY, 0.03))
    write_private(access.files(attempt(tmp_path)))
    (path,) = access.files(attempt(tmp_path))
    (path.parent / "token.new").mkdir()

    async def scenario() -> None:
        async with access.renewing(attempt(tmp_path)):
            await asyncio.sleep(0.05)
            (path.parent / "token.new").rmdir()
            before = path.stat().st_mtime_ns
            await _until(lambda: path.stat().st_mtime_ns != before)

    asyncio.run(scenario())
    out = capsys.readouterr().out
    assert "task_token_not_renewed" in out
    assert "eyJ" not in out


SCRIPT = (
    'sleep 0.3; cat "$FLYTEADMIN_TASK_TOKEN_FILE" >{seen}; stat -c "mode %a" "$FLYTEADMIN_TASK_TOKEN_FILE"; '
    'env | grep -c eyJ; sh -c "$(echo "$FLYTE_CREDENTIALS_COMMAND" | cut -d , -f 3)" | wc -c'
)


@pytest.mark.slow
def test_a_process_reads_its_token_and_the_file_is_removed_afterwards(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made, seen = bench(), tmp_path / "seen"

    async def scenario() -> TaskAttempt:
        runner = TaskRunner(made.settings, made.blobs, progress=print, tokens=TaskTokens(KEY, 60))
        try:
            described = made.attempt(script(SCRIPT.format(seen=seen)), principal="ada")
            assert isinstance(await run(runner, described), Succeeded)
            return described
        finally:
            await runner.close()

    described = asyncio.run(scenario())
    token = seen.read_text()
    mode, variables, length = described.log_path.read_text().splitlines()
    assert jwt.decode(token, KEY, algorithms=["HS256"])["sub"] == "ada"
    assert (mode, variables, int(length)) == ("mode 600", "0", len(token))
    left = [path for path in described.directory.rglob("*") if path.is_file()]
    assert described.log_path in left
    assert not [path for path in left if b"eyJ" in path.read_bytes()]
