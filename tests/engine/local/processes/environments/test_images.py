"""Which environment an image means: rules in their order, uploaded packages, archives of code, other images."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import tasks_pb2

from app.blobs import Blobs
from app.engine.local.processes.commands import container_of
from app.engine.local.processes.environments.archives import requirements_of
from app.engine.local.processes.environments.choice import Choice, NoEnvironment
from app.engine.local.processes.environments.images import Images
from app.engine.local.processes.environments.wanted import Wanted
from app.engine.local.processes.runner import TaskRunner
from app.settings import Settings
from tests.engine.local.processes.test_provided_variables import attempt

FLYTEKIT = ("flytekit==1.16.31",)
DESCRIBED: dict[str, Any] = {
    "python": "3.12",
    "requirements": ["numpy<2"],
    "flytekit": "1.16.31",
    "index": "https://me:secret@packages.example.com/simple",
    "extra_indexes": ["https://other.example.com"],
    "arguments": "--pre",
    "env": {"A": "1"},
    "ignored": {"apt_packages": ["curl", "git"], "commands": []},
    "base": "",
}


def chosen(tmp_path: Path, image: str, *args: str, env: dict[str, str] | None = None, **section: Any) -> Choice:
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "storage": {"url": str(tmp_path / "store")},
            "engine": {"local": {"requirements": FLYTEKIT, "environments": section}},
        }
    )
    task = tasks_pb2.TaskTemplate(type="python-task")
    task.id.project, task.id.domain = "p", "d"
    task.container.image = image
    task.container.args.extend(args or ("pyflyte-execute",))
    for key, value in (env or {}).items():
        task.container.env.add(key=key, value=value)
    return asyncio.run(Images(settings, Blobs(settings)).choose(task, container_of(task, "name")))


def described(tmp_path: Path, content: bytes, digest: str = "") -> str:
    """Put a description where the plugin uploads it, and return the image."""
    digest = digest or hashlib.sha256(content).hexdigest()[:20]
    file = tmp_path / "store" / "p" / "d" / "flyteadmin-images" / digest / "image.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return f"registry/me:tag-env{digest}"


def archive(tmp_path: Path, files: dict[str, str]) -> tuple[str, ...]:
    """Write an archive of code and return the command that unpacks it."""
    file = tmp_path / "store" / "p" / "code.tar.gz"
    file.parent.mkdir(parents=True)
    with tarfile.open(file, "w:gz") as made:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text.encode()))
    return ("pyflyte-fast-execute", "--additional-distribution", str(file), "--", "pyflyte-execute")


@pytest.mark.parametrize("image", ["", "cr.flyte.org/flyteorg/flytekit:py3.11-1.16.31"])
def test_images_of_flytekit_mean_the_default_environment(tmp_path: Path, image: str) -> None:
    assert chosen(tmp_path, image, other_images=False) == Choice()


def test_another_image_runs_in_the_default_environment_with_a_notice_or_not_at_all(tmp_path: Path) -> None:
    found = chosen(tmp_path, "ghcr.io/me/other:v1")
    assert (found.wanted, found.given) == (None, None)
    assert "image [ghcr.io/me/other:v1] maps to no environment" in found.notices[0]
    with pytest.raises(NoEnvironment, match=r"add it to the setting engine\.local\.environments\.images"):
        chosen(tmp_path, "ghcr.io/me/other:v1", other_images=False)


def test_the_first_rule_that_matches_names_an_environment_an_interpreter_or_requirements(tmp_path: Path) -> None:
    venv, lines = tmp_path / "venv", tmp_path / "own.txt"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text("")
    python.chmod(0o755)
    lines.write_text("# mine\nnumpy==2.1.0\n\n")
    rules = [
        {"image": "ghcr.io/me/base:*", "use": "default"},
        {"image": "ghcr.io/me/venv:*", "use": str(venv)},
        {"image": "ghcr.io/me/python:*", "use": str(python)},
        {"image": "ghcr.io/me/gone:*", "use": str(tmp_path / "gone")},
        {"image": "ghcr.io/*", "use": str(lines)},
    ]
    assert chosen(tmp_path, "ghcr.io/me/base:1", images=rules) == Choice()
    assert chosen(tmp_path, "ghcr.io/me/venv:1", images=rules) == Choice(given=venv)
    assert chosen(tmp_path, "ghcr.io/me/python:1", images=rules) == Choice(given=python)
    wanted = Wanted(requirements=("numpy==2.1.0", *FLYTEKIT))
    assert chosen(tmp_path, "ghcr.io/me/else:1", images=rules) == Choice(
        wanted=wanted, file=f"{lines}, to which engine.local.environments.images maps image [ghcr.io/me/else:1]"
    )
    with pytest.raises(NoEnvironment, match=r"gone, to which .* maps image .* does not exist"):
        chosen(tmp_path, "ghcr.io/me/gone:1", images=rules)


def test_uploaded_packages_are_read_and_checked_against_the_digest_of_the_image(tmp_path: Path) -> None:
    image = described(tmp_path, json.dumps(DESCRIBED).encode())
    found = chosen(tmp_path, image)
    assert found.wanted is not None
    assert found.wanted.requirements == ("numpy<2", "flytekit==1.16.31")
    assert (found.wanted.python, found.wanted.sources.arguments) == ("3.12", ("--pre",))
    assert found.variables == {"A": "1"}
    assert "no effect here: apt_packages [curl, git]; commands. This server makes no images" in found.notices[0]
    earlier = json.dumps({**DESCRIBED, "ignored": ["apt_packages"]}).encode()
    assert "no effect here: apt_packages. " in chosen(tmp_path, described(tmp_path, earlier)).notices[0]
    with pytest.raises(NoEnvironment, match="are not in the storage; register the task again"):
        chosen(tmp_path, f"me:tag-env{'0' * 20}")
    with pytest.raises(NoEnvironment, match="are not those that were registered"):
        chosen(tmp_path, described(tmp_path, json.dumps(DESCRIBED).encode(), "1" * 20))
    with pytest.raises(NoEnvironment, match="cannot be read"):
        chosen(tmp_path, described(tmp_path, b"[1]"))


def test_equal_contents_are_one_environment_and_passwords_are_not_shown() -> None:
    one, same = Wanted(requirements=("a", "b")), Wanted(requirements=("a", "b"))
    assert one.key == same.key != Wanted(requirements=("b", "a")).key
    secret = Wanted(requirements=("git+https://me:token@example.com/x.git",))
    assert secret.shown == ("git+https://example.com/x.git",)


def test_requirements_at_the_root_of_the_code_make_an_environment_unless_switched_off(tmp_path: Path) -> None:
    command = archive(tmp_path, {"a/requirements.txt": "no", "./requirements.txt": "six==1.17.0\n", "x.py": ""})
    assert chosen(tmp_path, "", *command).wanted == Wanted(requirements=("six==1.17.0", *FLYTEKIT))
    assert chosen(tmp_path, "", *command, archives=False) == Choice()
    assert chosen(tmp_path, "", *command, archive_bytes_max=10) == Choice()


def test_a_project_gives_its_dependencies_and_a_broken_one_an_error() -> None:
    def packed(text: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as made:
            member = tarfile.TarInfo("pyproject.toml")
            member.size = len(text)
            made.addfile(member, io.BytesIO(text.encode()))
        return buffer.getvalue()

    assert requirements_of(packed('[project]\nname = "x"\ndependencies = ["six", "numpy<2"]\n')) == ("six", "numpy<2")
    assert requirements_of(packed("[tool.ruff]\nline-length = 100\n")) == ()
    for broken in ("[project", "[project]\ndependencies = 1\n"):
        with pytest.raises(ValueError, match=r"Expected|no list"):
            requirements_of(packed(broken))
    # The command of the task reports it.
    assert requirements_of(b"no archive") == ()


def test_runtime_packages_become_part_of_the_environment(tmp_path: Path) -> None:
    found = chosen(tmp_path, "", env={"_F_RUNTIME_PACKAGES": "six==1.17.0 attrs"})
    assert found.wanted == Wanted(requirements=("six==1.17.0", "attrs", *FLYTEKIT))


def test_the_reason_for_waiting_has_the_notices(tmp_path: Path) -> None:
    # A later reason of the same phase is not recorded.
    settings = Settings.model_validate({"home": tmp_path, "storage": {"url": str(tmp_path / "store")}})
    task = tasks_pb2.TaskTemplate(type="python-task")
    task.container.image = "ghcr.io/me/other:v1"
    task.container.args.append("pyflyte-execute")

    async def main() -> str:
        runner = TaskRunner(settings, Blobs(settings), progress=print)
        try:
            return await runner.waits_for(attempt(tmp_path, task))
        finally:
            await runner.close()

    first, notice = asyncio.run(main()).splitlines()
    assert first == "the default environment"
    assert notice.startswith("image [ghcr.io/me/other:v1] maps to no environment of this server")
