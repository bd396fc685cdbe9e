"""The limit on descriptors is raised for the server and restored for its children."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

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
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_the_soft_limit_is_raised_and_restored() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 2048
    shown = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "(2048, 2048) (512, 2048)"
