"""Environments on the disk: made once and whole, never used half-made, removed only when nobody uses them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli import main as cli
from app.engine.local.processes.environments import pruning
from app.engine.local.processes.environments.installer import Installer, Sources
from app.engine.local.processes.environments.maker import EnvironmentMaker
from app.engine.local.processes.environments.store import EnvironmentStore, NotMade
from app.engine.local.processes.environments.wanted import Wanted
from app.settings import Settings
from tests.engine.local.processes.test_environment import a_wheel

SECONDS_MAX = 120.0


def store_in(folder: Path) -> EnvironmentStore:
    return EnvironmentStore(folder / "envs", Installer(), seconds_max=SECONDS_MAX)


def wanted(folder: Path, requirement: str) -> Wanted:
    sources = Sources(arguments=("--no-index", "--find-links", str(folder)))
    return Wanted(requirements=(requirement,), sources=sources)


def recorded(folder: Path, key: str, *, state: str = "ready", days: float = 0.0, size_bytes: int = 0) -> None:
    """Write an environment as if it had been made and last used some days ago."""
    envs = folder / "envs"
    (envs / key / "bin").mkdir(parents=True)
    (envs / key / "bin" / "python").write_text("")
    fields = {
        "key": key,
        "state": state,
        "python": "",
        "requirements": ["six"],
        "image": "me:tag",
        "packages": ["six==1.17.0", "pip==25.0"],
        "size_bytes": size_bytes,
        "started_at": 1.0,
        "made_at": 2.0,
        "reason": "",
    }
    (envs / f"{key}.json").write_text(json.dumps(fields))
    then = time.time() - days * 86400
    os.utime(envs / f"{key}.json", (then, then))


@pytest.mark.slow
def test_tasks_and_servers_that_want_one_environment_at_once_make_it_once(tmp_path: Path) -> None:
    a_wheel(tmp_path, "1.0")
    settings = Settings.model_validate({"home": tmp_path})
    one = wanted(tmp_path, "tiny-part==1.0")

    async def main() -> None:
        makers = [EnvironmentMaker(settings) for _ in range(2)]
        await asyncio.gather(*(maker.ensure(one, "me:tag") for maker in makers for _ in range(3)))
        absent = wanted(tmp_path, "absent-part")
        for _ in range(2):
            with pytest.raises(NotMade, match=r"\[absent-part\] cannot be made: .*absent-part was not found") as caught:
                await makers[0].ensure(absent, "me:tag")
            assert str(caught.value).endswith(f" | the whole output: flyteadmin envs log {absent.key}")
        assert not makers[0].store.path(absent.key).exists()
        for maker in makers:
            await maker.close()

    asyncio.run(main())
    store = store_in(tmp_path)
    made, failed = sorted(store.all(), key=lambda record: record.state != "ready")
    assert (made.state, made.packages) == ("ready", ("flyteadmin-images==1", "tiny-part==1.0"))
    assert made.size_bytes > 0
    assert (failed.state, "absent-part" in failed.reason) == ("failed", True)
    assert not failed.reason.startswith("environment")
    assert store.log_of(made.key, 10_000).count("tiny-part==1.0") == 1
    shown = subprocess.run(
        [str(store.path(made.key) / "bin" / "python"), "-c", "import tiny_part; print(tiny_part.VERSION)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "1.0\n"


def test_an_interrupted_installation_is_not_used_and_shown_as_failed(tmp_path: Path) -> None:
    recorded(tmp_path, "a" * 16, state="making")
    store = store_in(tmp_path)
    assert not store.is_ready("a" * 16)
    (record,) = store.all()
    assert (record.state, "interrupted" in record.reason) == ("failed", True)
    assert store.clean() == ["a" * 16]
    assert not store.path("a" * 16).exists()


def test_a_disk_without_room_for_the_record_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    one, store = wanted(tmp_path, "tiny-part==1.0"), store_in(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(NotMade, match=rf"environment {one.key} cannot be made: File too large"):
            store.make(one, "me:tag")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "envs").iterdir()] == [f"{one.key}.lock"]


def test_records_that_killed_processes_have_begun_are_removed_after_an_hour(tmp_path: Path) -> None:
    for name, hours in ((f".{'a' * 16}-1", 2), (f".{'b' * 16}-1", 0)):
        file = tmp_path / "envs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("{")
        os.utime(file, (time.time() - hours * 3600 - 10,) * 2)
    store_in(tmp_path).clean()
    assert [path.name for path in (tmp_path / "envs").iterdir()] == [f".{'b' * 16}-1"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "{}", "[" * 100_000, '{"key": "b", "state": "ready"}', '{"key": "x", "state": 3}'),
        *('{"key": "x", "state": "ready", "requirements": null}', '{"key": "x", "state": "ready", "packages": 3}'),
        *('{"key": "x", "state": "ready", "size_bytes": null}', '{"key": "x", "state": "ready", "notices": "abc"}'),
    ],
)
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    recorded(tmp_path, "a" * 16)
    (tmp_path / "envs" / "x.json").write_text(text)
    (tmp_path / "envs" / "folder.json").mkdir()
    store = store_in(tmp_path)
    assert [record.key for record in store.all()] == ["a" * 16]
    assert not store.is_ready("x")


def test_a_record_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "x.json").write_text('{"key": "x", "state": "failed", "reason": "why", "later": 1}')
    (found,) = store_in(tmp_path).all()
    assert (found.state, found.reason) == ("failed", "why")


def test_an_environment_that_could_not_be_made_is_listed_for_a_day(tmp_path: Path) -> None:
    recorded(tmp_path, "a" * 16, state="failed", days=1.1)
    recorded(tmp_path, "b" * 16, state="failed", days=0.9)
    recorded(tmp_path, "c" * 16, days=9)
    store = store_in(tmp_path)
    store.clean()
    assert {record.key for record in store.all()} == {"b" * 16, "c" * 16}


def test_environments_in_use_or_just_used_are_not_removed(tmp_path: Path) -> None:
    for key, days in (("a" * 16, 3), ("b" * 16, 2), ("c" * 16, 1), ("d" * 16, 0)):
        recorded(tmp_path, key, days=days, size_bytes=100)
    store = store_in(tmp_path)
    with store.lock_path("a" * 16).open("w") as task:
        fcntl.flock(task, fcntl.LOCK_SH)
        removed = pruning.to_size(store, 250)
    assert [record.key for record in removed] == ["b" * 16, "c" * 16]
    assert {record.key for record in store.all()} == {"a" * 16, "d" * 16}
    assert [record.key for record in pruning.to_size(store, 0)] == ["a" * 16]


def test_an_environment_that_was_used_or_made_since_it_was_listed_is_not_removed(tmp_path: Path) -> None:
    recorded(tmp_path, "a" * 16, days=3, size_bytes=100)
    recorded(tmp_path, "b" * 16, state="failed", days=3)
    store = store_in(tmp_path)
    listed = store.all()
    store.touch("a" * 16)
    store.touch("b" * 16)
    assert [record.key for record in listed if store.remove(record)] == []
    assert {record.key for record in store.all()} == {"a" * 16, "b" * 16}


@pytest.mark.slow
def test_tasks_get_their_environment_though_another_one_cannot_be_removed(tmp_path: Path) -> None:
    a_wheel(tmp_path, "1.0")
    recorded(tmp_path, "a" * 16, state="failed", days=2)
    # Opening a folder for writing fails for every user.
    (tmp_path / "envs" / f"{'a' * 16}.lock").mkdir()
    one = wanted(tmp_path, "tiny-part==1.0")

    async def main() -> None:
        maker = EnvironmentMaker(Settings.model_validate({"home": tmp_path}))
        await maker.ensure(one, "me:tag")
        await maker.close()

    with capture_logs() as lines:
        asyncio.run(main())
    assert store_in(tmp_path).is_ready(one.key)
    assert [line["log_level"] for line in lines if line["event"] == "environments_not_pruned"] == ["error"]


@pytest.mark.heavy
def test_the_command_lists_and_removes_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path))
    recorded(tmp_path, "a" * 16, days=40, size_bytes=3 * 1024**2)
    recorded(tmp_path, "b" * 16)
    runner = CliRunner()
    listed = runner.invoke(cli.app, ["envs"])
    assert listed.exit_code == 0, listed.output
    assert "a" * 16 + "  ready       3 MiB" in listed.output
    assert "six==1.17.0 and 1 more" in listed.output
    assert "2 environments, 3 MiB" in listed.output
    found = json.loads(runner.invoke(cli.app, ["envs", "-o", "json"]).output)
    assert [one["id"] for one in found] == ["b" * 16, "a" * 16]
    refused = runner.invoke(cli.app, ["envs", "prune", "--unused-for", "0s"])
    assert "--unused-for=0s is no age; allowed: such as 720h" in refused.output
    pruned = runner.invoke(cli.app, ["envs", "prune"])
    assert "removed 1 environment, 3 MiB" in pruned.output, pruned.output
    assert runner.invoke(cli.app, ["envs", "log", "c" * 16]).exit_code == 1
    assert "removed 1 environment" in runner.invoke(cli.app, ["envs", "prune", "--all"]).output
    assert not list((tmp_path / "envs").glob("*.json"))
