"""The image builder of flytekit in an environment: without a server, code with an ImageSpec is still packaged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import app

pytestmark = pytest.mark.slow

FLOWS = """
from flytekit import ImageSpec, task

@task(container_image=ImageSpec(name="spec", registry="localhost:5000", packages=["six"], builder="flyteadmin"))
def plain() -> int:
    return 1
"""

_DESCRIBE = """
from types import SimpleNamespace
import flyteadmin_images
from flytekit import ImageSpec

known = vars(ImageSpec(name="spec", packages=["six"]))
del known["pip_extra_args"]
described = flyteadmin_images.describe(SimpleNamespace(**known))
assert (described["requirements"], described["arguments"]) == (["six"], "")
"""


def test_packages_are_not_sent_without_a_server_and_the_code_is_packaged(tmp_path: Path, environment: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    command = [str(environment / "bin" / "pyflyte"), "--pkgs", "flows", "package", "--output", "out.tgz"]
    variables = {**os.environ, "HOME": str(tmp_path), "FLYTE_PLATFORM_URL": "localhost:1"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "are not sent to flyteadmin: this command names no project and domain" in done.stderr
    assert (tmp_path / "out.tgz").exists()


def test_images_of_a_flytekit_without_extra_arguments_of_pip_are_described(environment: Path) -> None:
    taskside = Path(app.__file__).parent / "engine/local/processes/environments/taskside"
    command = [str(environment / "bin" / "python"), "-c", _DESCRIBE]
    variables = {**os.environ, "PYTHONPATH": str(taskside)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
