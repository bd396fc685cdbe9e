"""The environment of tasks is installed once and completely, and errors name the settings to change."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import main as cli
from app.engine.local.processes import environment as environment_module
from app.engine.local.processes.environment import EnvironmentBroken, ensure, missing_module_advice
from app.engine.local.processes.environments.choice import Choice
from app.engine.local.processes.environments.installer import InstallationStopped, Installer
from app.engine.local.processes.environments.views import store_of, views
from app.settings import Settings


def a_wheel(folder: Path, version: str) -> Path:
    """The smallest package that pip installs, so that nothing need be downloaded."""
    wheel = folder / f"tiny_part-{version}-py3-none-any.whl"
    info = f"tiny_part-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_part.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def settings_with(home: Path, **local: object) -> Settings:
    return Settings.model_validate({"home": home, "engine": {"local": local}})


def version_in(python: Path) -> str:
    shown = subprocess.run(
        [str(python), "-c", "import tiny_part; print(tiny_part.VERSION)"], capture_output=True, text=True, check=True
    )
    return shown.stdout.strip()


def test_the_advice_on_a_missing_module_has_the_list_of_packages_with_one_more(tmp_path: Path) -> None:
    local = settings_with(tmp_path, requirements=("flytekit>=1.16.8,<1.17", "numpy")).engine.local
    advice = missing_module_advice("pandas", Choice(), "me:tag", local)
    assert 'FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS="flytekit>=1.16.8,<1.17 numpy pandas"' in advice
    assert "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT" in advice


@pytest.mark.slow
def test_one_of_several_servers_installs_it_once(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "1.0")),))
    lines: list[str] = []

    async def main() -> None:
        one, two = await asyncio.gather(ensure(settings, lines.append), ensure(settings, lines.append))
        assert one == two
        assert version_in(one.python) == "1.0"
        assert (tmp_path / "envs" / "default").resolve() == one.path
        before = len(lines)
        assert await ensure(settings, lines.append) == one
        assert len(lines) == before

        # A folder without the link is an interrupted installation.
        (tmp_path / "envs" / "default").unlink()
        one.python.unlink()
        assert await ensure(settings, lines.append) == one
        assert version_in(one.python) == "1.0"

        newer = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "2.0")),))
        other = await ensure(newer, lines.append)
        assert version_in(other.python) == "2.0"
        assert (tmp_path / "envs" / "default").resolve() == other.path
        # Tasks may still run in the old one.
        assert version_in(one.python) == "1.0"

    asyncio.run(main())
    assert sum("only once" in line for line in lines) == 3
    assert any("waiting for it" in line for line in lines)


@pytest.mark.slow
def test_an_environment_that_others_use_is_taken_without_waiting_for_them(tmp_path: Path) -> None:
    older, newer = (settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, one)),)) for one in ("1.0", "2.0"))

    async def main() -> None:
        one = await ensure(older, lambda line: None)
        two = await ensure(newer, lambda line: None)
        # A terminal without the settings of the server takes the environment of the server, and leaves the link.
        assert await ensure(older, lambda line: None, present=True) == two
        assert (tmp_path / "envs" / "default").resolve() == two.path
        # While a server makes another one, a terminal waits for that.
        newest = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "3.0")),))
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        making = asyncio.ensure_future(ensure(newest, lambda line: loop.call_soon_threadsafe(begun.set)))
        async with asyncio.timeout(60):
            await begun.wait()
        waited: list[str] = []
        assert await ensure(older, waited.append, present=True) == await making
        assert waited == ["another process is making the environment of tasks; waiting for it"]
        # A server that returns to the old list, while tasks of another process use that environment.
        assert one.lock is not None
        with one.lock.open("rb") as user:
            fcntl.flock(user, fcntl.LOCK_SH)
            async with asyncio.timeout(60):
                assert await ensure(older, lambda line: None) == one
        assert (tmp_path / "envs" / "default").resolve() == one.path

    asyncio.run(main())


@pytest.mark.slow
def test_a_failed_installation_names_the_settings_and_sets_no_link(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, requirements=(str(tmp_path / "absent-1.0-py3-none-any.whl"),))
    with pytest.raises(EnvironmentBroken) as raised:
        asyncio.run(ensure(settings, lambda line: None))
    message = str(raised.value)
    assert "absent-1.0" in message
    assert "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT" in message
    assert "FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS" in message
    assert not (tmp_path / "envs" / "default").exists()
    (listed,) = views(settings, store_of(settings))
    assert (listed["state"], "absent-1.0" in listed["reason"]) == ("failed", True)
    assert not Path(listed["path"]).exists()


@pytest.mark.slow
def test_a_changed_list_that_cannot_be_installed_does_not_run_in_the_environment_of_before(tmp_path: Path) -> None:
    older = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "1.0")),))
    newer = settings_with(tmp_path, requirements=(*older.engine.local.requirements, str(tmp_path / "absent.whl")))
    before = asyncio.run(ensure(older, lambda line: None))
    with pytest.raises(EnvironmentBroken, match=r"absent.*FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS"):
        asyncio.run(ensure(newer, lambda line: None))
    assert (tmp_path / "envs" / "default").resolve() == before.path
    lines: list[str] = []
    assert asyncio.run(ensure(older, lines.append)) == before
    # Nothing was installed again.
    assert lines == []


@pytest.mark.slow
def test_relative_paths_are_those_of_the_server_whose_project_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    wheel = a_wheel(project, "1.0")
    # uv reads it in its working directory, and fails for it.
    (project / "uv.toml").write_text("[pip]\nno-index = 7\n")
    monkeypatch.chdir(project)
    for number, requirement in enumerate((f"./{wheel.name}", f"../project/{wheel.name}")):
        made = asyncio.run(ensure(settings_with(tmp_path / str(number), requirements=(requirement,)), lambda _: None))
        assert version_in(made.python) == "1.0"


def test_an_existing_environment_is_used_unchanged(tmp_path: Path, environment: Path) -> None:
    found = asyncio.run(ensure(settings_with(tmp_path, environment=str(environment)), lambda line: None))
    assert found.path == environment.resolve()
    assert not (tmp_path / "envs").exists()


def test_a_folder_that_is_no_environment_is_refused(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, environment=str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentBroken, match=r"FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT=.*nowhere is not a virtual"):
        asyncio.run(ensure(settings, lambda line: None))


def test_a_home_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "envs").write_text("a file in its place")
    with pytest.raises(EnvironmentBroken, match=r"cannot be made: .*envs"):
        asyncio.run(ensure(settings_with(tmp_path), lambda line: None))


@pytest.mark.slow
def test_an_installer_that_starts_while_the_server_stops_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    start, installer = subprocess.Popen, Installer()

    def started_late(*given: Any, **options: Any) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = start(*given, **options)
        installer.stop()
        return process

    monkeypatch.setattr(subprocess, "Popen", started_late)
    with pytest.raises(InstallationStopped):
        installer.run(["sleep", "60"], print)


@pytest.mark.slow
def test_default_environments_are_listed_kept_and_removed_when_others_took_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    older = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "1.0")),))
    newer = settings_with(tmp_path, requirements=(str(a_wheel(tmp_path, "2.0")),))
    one, two = (asyncio.run(ensure(settings, lines.append)) for settings in (older, newer))
    (current, other) = (view for view in views(newer, store_of(newer)) if view["state"] == "ready")
    assert (current["id"], current["default"], current["path"]) == (two.path.name, True, str(two.path))
    assert (other["id"], other["default"]) == (one.path.name, False)
    assert "tiny-part==2.0" in current["packages"]
    assert current["size_bytes"] > 0
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path))
    runner = CliRunner()
    # This process, as a server would, uses both.
    assert "removed 0 environments" in runner.invoke(cli.app, ["envs", "prune", "--all"]).output
    # The first one is complete, so it is not made again, while tasks may still run in it.
    before = len(lines)
    assert asyncio.run(ensure(older, lines.append)) == one
    assert len(lines) == before
    assert "default environment" in runner.invoke(cli.app, ["envs"]).output
    environment_module._used.pop(two.path.with_name(f"{two.path.name}.lock")).close()
    assert f"removed {two.path.name}" in runner.invoke(cli.app, ["envs", "prune", "--all"]).output
    assert one.python.exists()
    assert not two.path.exists()


def test_environments_of_earlier_servers_and_of_the_setting_are_listed_too(tmp_path: Path) -> None:
    for folder in ("default-0123abcd", "own"):
        (tmp_path / "envs" / folder / "bin").mkdir(parents=True)
        (tmp_path / "envs" / folder / "bin" / "python").write_text("")
    settings = settings_with(tmp_path, environment=str(tmp_path / "envs" / "own"))
    given, old = views(settings, store_of(settings))
    assert (given["id"], given["default"], given["path"]) == ("default", True, str(tmp_path / "envs" / "own"))
    assert (old["id"], old["state"], old["default"]) == ("default-0123abcd", "ready", False)
    absent = settings_with(tmp_path, environment=str(tmp_path / "nowhere"))
    assert views(absent, store_of(absent))[0]["reason"].startswith("engine.local.environment: there is no")
