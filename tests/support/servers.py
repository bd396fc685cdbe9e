"""Real server processes for tests: started with the command that users type, on free ports, stopped in the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.system import PORTABLE

COMMAND = (sys.executable, "-m", "app.cli.main")
PORT_FLAGS = ("--port", "--grpc-port", "--metrics-port")
ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60


class Running:
    """A server process; addresses are those that it printed itself."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.started_at = time.monotonic()

    @property
    def printed(self) -> str:
        """Everything it has written so far, to stdout and to stderr."""
        return self.log.read_text()

    def address(self, label: str) -> str:
        """The address behind a label of the banner, without http:// or https://."""
        found = re.search(rf"^  {label} +(?:https?://)?([^\s/]+)", self.printed, re.MULTILINE)
        assert found, self.printed
        return found[1]

    @property
    def web(self) -> str:
        """http://host:port of REST (and gRPC), https:// over TLS."""
        scheme = "https" if "  REST and gRPC  https://" in self.printed else "http"
        return f"{scheme}://{self.address('REST and gRPC')}"

    @property
    def metrics(self) -> str:
        """http://host:port of the metrics listener."""
        return f"http://{self.address('metrics')}"

    def wait_until(self, text: str) -> None:
        """Wait for a line that contains text; fails when the process ends first."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while text not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS_MAX)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the variables of a server: those of this process without settings, a home, and the given ones.

    Servers write bytecode whatever this process does: compiling app/ takes each of them 0.6 s of CPU.
    """
    left_out = ("FLYTEADMIN_", "PYTHONDONTWRITEBYTECODE")
    plain = {name: value for name, value in os.environ.items() if not name.upper().startswith(left_out)}
    quick = {"FLYTEADMIN_ENGINE": "none", "FLYTEADMIN__SERVER__DRAINSECONDS": "0"}
    # It concerns all processes of a machine (app/system).
    plain |= {name: os.environ[name] for name in (PORTABLE,) if name in os.environ}
    return {**plain, "FLYTEADMIN_HOME": str(home), "PYTHONPATH": str(ROOT), **quick, **more}


def run(
    home: Path, *arguments: str, seconds_max: int = START_SECONDS_MAX, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
    )


def launch(home: Path, log: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a server that stops without draining, on free ports but for those given; its output goes to log."""
    ports = [part for name in PORT_FLAGS if name not in arguments for part in (name, "0")]
    with log.open("w") as output:
        return subprocess.Popen(
            [*COMMAND, "serve", *ports, *arguments],
            env=environment(home, **{"FLYTEADMIN__SERVER__DRAINSECONDS": "0", **(variables or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def serving(home: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A server that answers when the block begins, and is gone when it ends."""
    log = home.with_name(f"{home.name}-{time.monotonic_ns()}.log")
    process = launch(home, log, *arguments, variables=variables)
    server = Running(process, log)
    try:
        server.wait_until("flyteadmin is ready")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
