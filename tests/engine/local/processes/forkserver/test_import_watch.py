"""The watch of an import, which decides whether tasks can share its result."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.engine.local.processes.forkserver.import_watch import ImportRefused, watched
from app.system import system

# Watches the import of modules case0, case1 …, and prints for each: the reason, the files that it looked at.
_WATCH = """
import importlib, json, sys, shutil, signal, select, socket, struct, traceback
from app.engine.local.processes.forkserver import import_watch
sys.path[0] = sys.argv[1]
sys.dont_write_bytecode, dumps = True, json.dumps
found = []
for number in range(int(sys.argv[2])):
    try:
        with import_watch.watched(["program", "argument"]) as watch:
            importlib.import_module(f"case{number}")
    except import_watch.ImportRefused:
        pass
    found.append((watch.refused, sorted(watch.looked)))
sys.stdout.write("\\n" + dumps(found))
"""

# A module, and a part of the reason; "" where tasks may share the import.
_CASES = (
    ("VALUE = 1", ""),
    ("import io, pprint\nVALUE = io.StringIO().write('x'), pprint.pformat({1: 2})", ""),
    ("import os\nVALUE = os.path.exists('config.yaml')", "looks at 'config.yaml'"),
    ("from pathlib import Path\nVALUE = Path('config.yaml').is_file()", "looks at 'config.yaml'"),
    ("import os\nVALUE = os.access('config.yaml', os.R_OK)", "looks at 'config.yaml'"),
    ("import glob\nVALUE = glob.glob('config.yaml')", "does glob.glob"),
    ("import posix\nVALUE = posix.stat('/')", "posix.stat"),
    ("import os\nVALUE = os.path.exists('/nowhere/at/all')", ""),
    ("import os\nVALUE = os.path.exists('<string>')", ""),
    ("import shutil\nVALUE = shutil.disk_usage('/')", "posix.statvfs"),
    ("import tempfile\nVALUE = tempfile.gettempdir()", "asks for the temporary folder"),
    ("from tempfile import gettempdir\ndef where(folder=gettempdir()): return folder", "asks for the temporary folder"),
    ("VALUE = open('/proc/self/stat').read()", "reads '/proc/self/stat'"),
    ("with open('/dev/urandom', 'rb') as file:\n    VALUE = file.read(8)", "reads '/dev/urandom'"),
    ("import ssl\nVALUE = ssl.RAND_bytes(8)", "_ssl.RAND_bytes"),
    ("import resource\nVALUE = resource.getrlimit(resource.RLIMIT_NOFILE)", "resource.getrlimit"),
    ("print('hello')", "builtins.print"),
    ("import sys\nsys.stderr.write('hello')", "a stream"),
    ("import warnings\nwarnings.warn('old')", "a stream"),
    ("import logging\nlogging.warning('hello')", "time.time"),
    ("import os\nos.write(1, b'hello')", "posix.write"),
    ("import os\nos.register_at_fork(before=id)", "posix.register_at_fork"),
    ("import sys\nVALUE = ['x'] + list(sys.argv)", "sys.argv"),
    ("import sys\nVALUE = f'{sys.argv}'", "sys.argv"),
    ("import sys\nVALUE = sys.argv + []", "sys.argv"),
    ("import time\ntime.monotonic = lambda: 0.0", "changes functions of the standard library"),
    ("import json\njson.dumps = repr", "changes functions of the standard library"),
    ("open({made!r}, 'w').write('x')", "writes"),
    ("try:\n    open({made!r}, 'w')\nexcept Exception:\n    pass", "writes"),
    ("import os\nos.mkdir({made!r})", "os.mkdir"),
    ("import subprocess\nsubprocess.run(['touch', {made!r}])", "does "),
)


@pytest.mark.slow
@pytest.mark.skipif(system.is_portable, reason="other systems have no module servers")
def test_an_import_that_differs_or_leaves_something_is_noticed_and_does_nothing_outside(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for number, (text, _) in enumerate(_CASES):
        (tmp_path / f"case{number}.py").write_text(text.replace("{made!r}", repr(str(made))))
    command = [sys.executable, "-c", _WATCH, str(tmp_path), str(len(_CASES))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for number, ((text, reason), (refused, files)) in enumerate(zip(_CASES, found, strict=True)):
        assert (reason in refused) if reason else not refused, (number, text, refused)
        assert ("/nowhere/at/all" in files) == ("/nowhere/at/all" in text)
    assert not made.exists()


def test_a_module_cannot_end_the_watch_by_a_profile_function_of_its_own() -> None:
    with watched(["pyflyte-execute"]) as watch:
        assert watch.refused == ""
        with pytest.raises(ImportRefused):
            sys.setprofile(None)
        time.time()
    assert watch.refused == "does sys.setprofile"
    assert sys.getprofile() is None


@pytest.mark.parametrize("attribute", ["time", "perf_counter_ns"])
def test_the_time_is_noticed(attribute: str) -> None:
    with watched(["pyflyte-execute"]) as watch:
        getattr(time, attribute)()
    assert watch.refused == f"calls time.{attribute}"
