"""Each command, argument and option has a help text; commands that need no server work in process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from app.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert ALL[path].help
    for parameter in ALL[path].params:
        assert getattr(parameter, "help", None), parameter.name


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_names_of_options_are_lower_case(path: tuple[str, ...]) -> None:
    """Typer takes a metavar that equals the parameter's name in capitals for the name of the option."""
    names = [name for parameter in ALL[path].params for name in (*parameter.opts, *parameter.secondary_opts)]
    assert [name for name in names if name.startswith("--") and not name.islower()] == []


@pytest.mark.heavy
def test_documentation_of_one_setting() -> None:
    result = CliRunner().invoke(app, ["config", "docs", "server.http_port"])
    assert result.stdout.startswith("- `server.httpPort` (`30080`): Port of REST, gRPC")
    assert result.stdout.count("\n") == 1


def test_documentation_of_a_setting_that_is_not_there() -> None:
    result = CliRunner().invoke(app, ["config", "docs", "server.prt"])
    assert result.exit_code == 1
    assert result.stderr == "flyteadmin: no setting has the key server.prt; `flyteadmin config docs` prints all keys\n"


def test_version() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.startswith("flyteadmin ")
