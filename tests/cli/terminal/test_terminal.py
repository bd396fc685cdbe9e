"""Commands at a real terminal against a real server: run, watch, logs -f, and Ctrl-C at each of them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.engine.conftest import environment  # noqa: F401  (a fixture that is asked for by name)
from tests.support.servers import COMMAND, Running, run, serving
from tests.support.servers import environment as variables_of

pytestmark = pytest.mark.slow

SECONDS_MAX = 120
SOURCE = Path(__file__).parent / "flows" / "counting.py"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, environment: Path) -> Iterator[tuple[Running, Path]]:  # noqa: F811
    home = tmp_path_factory.mktemp("terminal") / "home"
    engine = {"FLYTEADMIN_ENGINE": "local", "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(environment)}
    with serving(home, variables=engine) as started:
        yield started, home


@pytest.fixture
def start(server: tuple[Running, Path], environment: Path) -> Iterator[Start]:  # noqa: F811
    """Start a command at a terminal of 100 columns and 40 lines."""
    children: list[Any] = []
    variables = variables_of(server[1], FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT=str(environment), TERM="xterm-256color")

    def begin(*arguments: str) -> Any:
        child = pexpect.spawn(
            sys.executable,
            [*COMMAND[1:], *arguments],
            env=variables,
            dimensions=(40, 100),
            timeout=SECONDS_MAX,
            encoding="utf-8",
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.close(force=True)


@pytest.fixture(scope="module")
def printed_by(server: tuple[Running, Path], environment: Path) -> Callable[..., str]:  # noqa: F811
    """Run a command without a terminal, with further variables, and return what it prints."""

    def printed(*arguments: str, **variables: str) -> str:
        chosen = {"FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(environment), **variables}
        done = run(server[1], *arguments, **chosen)
        assert done.returncode == 0, done
        return done.stdout

    return printed


@pytest.fixture(scope="module")
def ask(printed_by: Callable[..., str]) -> Callable[..., Any]:
    """Run a command without a terminal and return its JSON."""
    return lambda command, *arguments: json.loads(printed_by(command, "-o", "json", *arguments))


def ended(child: Any) -> tuple[int, str]:
    """The exit code, and the rest of the output without colours."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, _SEQUENCE.sub("", child.before)


def test_hello_then_a_watch_and_the_logs_of_what_has_ended(start: Start, ask: Callable[..., Any]) -> None:
    code, printed = ended(start("hello", "--x", "4"))
    assert code == 0, printed
    assert "examples/hello.py" in printed
    assert 'o0 = "Hello! 4 squared is 16, and doubled it is 8."' in printed
    assert "flyteadmin run hello.py main --x 5" in printed
    name = ask("get", "--limit", "1")[0]["name"]
    code, printed = ended(start("watch", name))
    assert code == 0
    assert "✓ SUCCEEDED" in printed


def test_run_draws_while_it_runs_and_ctrl_c_asks(start: Start, ask: Callable[..., Any]) -> None:
    child = start("run", "--name", "counted", str(SOURCE), "count", "--n", "600")
    child.expect("● running")
    child.sendintr()
    child.expect(r"abort flytesnacks/development/counted\? \[y/N\]")
    child.sendline("n")
    code, printed = ended(child)
    assert code == 130
    assert "watch it with `flyteadmin watch counted`, end it with `flyteadmin terminate counted`" in printed
    assert ask("get", "counted")["phase"] == "RUNNING"

    # The execution that goes on has logs to follow; Ctrl-C ends only the command.
    follow = start("logs", "counted", "-f")
    follow.expect("line 1\r\n")
    follow.expect(r"line \d+\r\n")
    follow.sendintr()
    assert ended(follow)[0] == 130

    watch = start("watch", "counted")
    watch.expect("● running")
    watch.sendintr()
    code, printed = ended(watch)
    assert code == 130
    assert "the watch has ended, flytesnacks/development/counted continues" in printed
    assert ask("get", "counted")["phase"] == "RUNNING"

    last = start("watch", "counted")
    last.expect("● running")
    ask("terminate", "counted")
    assert ended(last)[0] == 1


def test_run_leaves_no_temporary_files(printed_by: Callable[..., str], tmp_path: Path) -> None:
    for arguments in (("--detach", str(SOURCE), "count", "--n", "1"), (str(SOURCE), "count", "--help")):
        printed_by("run", *arguments, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_and_yes_aborts(start: Start, ask: Callable[..., Any]) -> None:
    child = start("run", "--name", "stopped", str(SOURCE), "count", "--n", "60")
    child.expect("● running")
    child.sendintr()
    child.expect(r"\[y/N\]")
    child.sendline("y")
    code, printed = ended(child)
    assert code == 1
    assert "aborted  by Ctrl-C in flyteadmin run" in printed
    assert ask("get", "stopped")["cause"] == "by Ctrl-C in flyteadmin run"


def test_logs_follow_until_the_end(start: Start, ask: Callable[..., Any]) -> None:
    assert ask("run", "--detach", "--name", "followed", str(SOURCE), "count", "--n", "3")["name"] == "followed"
    code, printed = ended(start("logs", "followed", "-f"))
    assert code == 0
    assert [line for line in printed.splitlines() if "line" in line] == [f"n0 │ line {at}" for at in range(3)]


def test_ctrl_c_during_the_registration_leaves_nothing(start: Start, ask: Callable[..., Any]) -> None:
    child = start("run", "--name", "never", str(SOURCE.with_name("slow_import.py")), "count")
    child.expect("registering with pyflyte")
    child.sendintr()
    code, printed = ended(child)
    assert code == 130
    assert "interrupted before the launch; nothing runs" in printed
    assert "never" not in [one["name"] for one in ask("get")]


def test_a_file_that_python_refuses(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    code, printed = ended(start("run", str(tmp_path / "broken.py"), "f"))
    assert code == 3
    assert "correct the error above" in printed
    code, printed = ended(start("run", str(SOURCE), "nosuch"))
    assert code == 3
    assert "'nosuch' not found in module 'counting'; `flyteadmin run FILE --help` lists" in " ".join(printed.split())
    assert "Traceback" not in printed
    code, printed = ended(start("run", "nowhere.py", "f"))
    assert code == 3
    assert "there is no file nowhere.py; give the path of a Python file, or try `flyteadmin hello`" in printed
