"""The limit on descriptors is raised for the server and restored for its children."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from app import limited_log
from app.runtime import descriptors
from app.system import system

CODE = """
import resource, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))
from app.runtime import descriptors
descriptors.raise_limit()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
descriptors.restore_limit(child.pid)
print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.prlimit(child.pid, resource.RLIMIT_NOFILE))
child.communicate(b"\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(system.is_portable, reason="prlimit is Linux's")
def test_the_soft_limit_is_raised_and_restored() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 2048
    shown = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "(2048, 2048) (512, 2048)"


def test_descriptors_that_run_out_are_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    limited_log.clear()
    watch = descriptors.DescriptorWatch()
    with capture_logs() as logs:
        watch.check()
        assert not watch.health()
        monkeypatch.setattr(descriptors, "USED_PART_MAX", 0)
        watch.check()
        watch.check()
    assert watch.health()
    assert [line["event"] for line in logs] == ["descriptors_almost_used_up"]
