"""`flyteadmin run` and `flyteadmin hello`: register with the task environment's own pyflyte, launch and watch."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import INTERRUPTED, Output, load_settings
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import UNKNOWN, console, outcome_errors, print_json
from app.cli.terminal.places import Domain, ExecutionAddress, Project, place_of

if TYPE_CHECKING:
    from app.cli.client import RestClient
    from app.cli.terminal.interrupts import Interrupts

# Options after FILE belong to the workflow.
CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
ABORT_CAUSE = "by Ctrl-C in flyteadmin run"
EXAMPLE = "examples/hello.py"
# pyflyte reads the token from a variable, so that no argument and no file has it.
TOKEN_VARIABLE = "FLYTEADMIN_RUN_TOKEN"  # nosec B105 - the name of a variable
# The last line of pyflyte for a name that is not in the file; above it stands a traceback of flytekit's own code.
_MISSING = re.compile(r"^(?:\w+\.)*FlyteEntityNotFoundException: (.+)", re.MULTILINE)
# pyflyte cuts lines at the width of its terminal.
COLUMNS = "1000"
OUTPUT_BYTES_MAX = 256 * 1024
# Time for a launch that is on its way to the server.
ARRIVAL_SECONDS = 0.5
SHOWN_CHARACTERS_MAX = 16 * 1024
_FRAME = "╭╮╰╯─│ "
END_SECONDS_MAX = 5.0

Detach = Annotated[bool, typer.Option("--detach", help="Do not watch: print the name of the execution and end.")]


def run(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE WORKFLOW [INPUTS]...",
            help="A Python file, a workflow or task in it, and its inputs such as --x 3. "
            "Options of `pyflyte run` stand before FILE.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the execution. [default: made up]")] = "",
    detach: Detach = False,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Register a workflow, launch it and watch it until it ends.

    `flyteadmin run FILE WORKFLOW --help` prints the inputs of the workflow. Ctrl-C asks whether to abort the execution.
    Exit codes are those of `flyteadmin watch`.
    """
    with outcome_errors():
        _check_file(arguments)
        raise SystemExit(
            _run(context, arguments, name, project, domain, endpoint, detach=detach, json=output == "json")
        )


def hello(
    context: typer.Context,
    x: Annotated[int, typer.Option("--x", help="The input of the example.")] = 3,
    detach: Detach = False,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Register, run and watch an example that comes with this program."""
    from app import bundled

    source = bundled.path(EXAMPLE)
    with outcome_errors():
        json = output == "json"
        if not json:
            typer.echo(f"the example is {source}")
        arguments = [str(source), "main", "--x", str(x)]
        code = _run(context, arguments, "", project, domain, endpoint, detach=detach, json=json)
        if not json and code == 0 and not detach:
            typer.echo(f"\nnext: copy the example, change it and run it\n  cp {source} .")
            typer.echo(f"  {program()} run hello.py main --x {x + 1}")
        raise SystemExit(code)


def _check_file(arguments: Sequence[str]) -> None:
    from app.settings import BadSetting

    files = [word for word in arguments if word.endswith(".py")]
    if files and not Path(files[0]).exists():
        raise BadSetting(f"there is no file {files[0]}; give the path of a Python file, or try `{program()} hello`")


def _run(
    context: typer.Context,
    arguments: Sequence[str],
    name: str,
    project: str,
    domain: str,
    endpoint: str,
    *,
    detach: bool,
    json: bool,
) -> int:
    """Register, launch and watch; return the exit code. Raises BadSetting."""
    from app.cli.client import connected
    from app.cli.terminal.interrupts import counted
    from app.cli.terminal.watch import advice, print_outputs

    with connected(endpoint) as client:
        place = ExecutionAddress(*place_of(client, project, domain), name or f"r{secrets.token_hex(9)}")
        if "--help" in arguments:
            with tempfile.TemporaryDirectory(prefix="flyteadmin-run-") as folder:
                variables = {**os.environ, "TMPDIR": folder}
                command = [str(_pyflyte(context)), "run", *arguments]
                return subprocess.run(command, env=variables, check=False).returncode
        # Signs in, and finds out whether the server answers, before minutes are spent on the rest.
        client.get("/api/v1/version")
        if name:
            _check_name(client, place)
        pyflyte = _pyflyte(context)
        with counted() as interrupts:
            code = _launch(client, pyflyte, place, arguments, interrupts, quiet=json)
            if code:
                return code
            if detach:
                if json:
                    print_json({**place.id, "console": place.console(client)})
                else:
                    typer.echo(f"launched {place}; {advice(client, place)}")
                return 0
            code = watch_or_abort(client, place, interrupts, json=json)
        print_outputs(client, place, code, json=json)
        return code


def _check_name(client: RestClient, place: ExecutionAddress) -> None:
    """Raise BadSetting where the name is taken: pyflyte succeeds and leaves the execution of that name as it is."""
    from app.cli.terminal.refusals import taken

    if _exists(client, place):
        raise taken(place)


def _exists(client: RestClient, place: ExecutionAddress) -> bool:
    from app.cli.calls import path_of
    from app.cli.client import CallRefused

    try:
        client.get(path_of("executions", *place.parts))
    except CallRefused as error:
        if error.status != 404:
            raise
        return False
    return True


def _pyflyte(context: typer.Context) -> Path:
    """Return the task environment's pyflyte; install the environment where there is none.

    The environment of a server that runs from this home is used as it is: this terminal may not have its settings.

    Raises:
        BadSetting: The environment cannot be made, or has no pyflyte.
    """
    import asyncio

    from rich.text import Text

    from app.engine.local.processes import environment
    from app.server import home
    from app.settings import BadSetting

    settings = load_settings(context, None)
    serves = home.holder(settings.home) != 0
    screen = console()
    try:
        with screen.status("looking for the environment of tasks") as status:

            def show(line: str) -> None:
                # As text: rich would take brackets, as in flytekit[connector], for markup.
                status.update(Text(f"making the environment of tasks (once, takes a minute or more): {line[:100]}"))

            async def ensure() -> environment.Environment:
                try:
                    return await environment.ensure(settings, show, present=serves)
                except asyncio.CancelledError:
                    # Ctrl-C: the thread that makes the environment or waits for it has to end, too.
                    environment.interrupt()
                    raise

            made = asyncio.run(ensure())
    except environment.EnvironmentBroken as error:
        raise BadSetting(str(error)) from error
    found = made.programs / "pyflyte"
    if not found.exists():
        raise BadSetting(
            f"the environment of tasks {made.path} has no pyflyte; install flytekit into it, or name another one with "
            f"{environment.NAME_SETTING}"
        )
    return found


def _launch(
    client: RestClient,
    pyflyte: Path,
    place: ExecutionAddress,
    arguments: Sequence[str],
    interrupts: Interrupts,
    *,
    quiet: bool,
) -> int:
    """Register and launch with pyflyte; return 0, or an exit code where it failed."""
    command = ["run", "--remote", "-p", place.project, "-d", place.domain, "--name", place.name, *arguments]
    with _configuration(client) as (file, variables), tempfile.TemporaryFile() as written:
        process = subprocess.Popen(
            [str(pyflyte), "--config", str(file), *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this command alone, which ends pyflyte.
            start_new_session=True,
        )
        with console().status("registering with pyflyte") if not quiet else nullcontext():
            while process.poll() is None:
                if interrupts.pause(0.05):
                    _end(process)
        said = _last_lines(written)
    if interrupts.pressed.is_set():
        if _was_launched(client, place):
            # The watch finds Ctrl-C pressed, and asks whether to abort it.
            return 0
        typer.echo("interrupted before the launch; nothing runs, and files that were uploaded stay", err=True)
        return INTERRUPTED
    if process.returncode == 0:
        return 0
    if missing := _MISSING.search(said):
        typer.echo(f"flyteadmin: {missing[1]}; `{program()} run FILE --help` lists what FILE has", err=True)
        return UNKNOWN
    typer.echo(_unframed(said)[-SHOWN_CHARACTERS_MAX:], err=True)
    typer.echo(f"flyteadmin: {_advice(said, arguments, process.returncode)}", err=True)
    return UNKNOWN


def _was_launched(client: RestClient, place: ExecutionAddress) -> bool:
    """Return whether the server has got the launch of a pyflyte that was ended.

    The server may still handle the call, so it is asked twice.

    Raises:
        BadSetting: The server does not answer.
    """
    for pause in (0.0, ARRIVAL_SECONDS):
        time.sleep(pause)
        if _exists(client, place):
            return True
    return False


def _advice(said: str, arguments: Sequence[str], code: int) -> str:
    """Return what to do after a failure of pyflyte, whose output stands above."""
    from app.engine.local.processes import environment

    if arguments[-1].endswith(".py") and "No such option" not in said and "Commands" in said:
        return f"name a workflow or task of this list after {arguments[-1]}"
    advice = "correct the error above"
    if "No such option" in said:
        advice = "options of this command stand before FILE"
    elif missing := environment.missing_module(said):
        advice = (
            f"the environment of tasks has no module {missing!r}; start the server with its package in "
            f"{environment.REQUIREMENTS_SETTING} beside those that are there"
        )
    return f"pyflyte could not register or launch it (exit code {code}); {advice}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_lines(written: IO[bytes]) -> str:
    """Return the end of the output of pyflyte."""
    size = written.seek(0, os.SEEK_END)
    written.seek(max(0, size - OUTPUT_BYTES_MAX))
    return written.read().decode("utf-8", "replace").strip()


def _unframed(said: str) -> str:
    """Return the output of pyflyte with the name of this command, and without frames as wide as `COLUMNS`."""
    lines = []
    for line in said.splitlines():
        if line.startswith(("╭", "│", "╰")):
            indent = "  " if line.startswith("│") else ""
            line = indent + re.sub(r" {20,}", "  ", line.strip(_FRAME))
        elif line.lstrip().startswith(("Usage: ", "Try ")):
            line = line.strip().replace("pyflyte run", f"{program()} run", 1)
        if line.strip():
            lines.append(line.rstrip())
    return "\n".join(lines)


@contextmanager
def _configuration(client: RestClient) -> Iterator[tuple[Path, dict[str, str]]]:
    """Write pyflyte's configuration for the server of this command; yield its file and the variables of pyflyte."""
    import yaml

    connection = client.connection
    values: dict[str, Any] = dict(connection.values)
    scheme, _, host = connection.url.partition("://")
    admin: dict[str, Any] = {"endpoint": f"dns:///{host}", "insecure": scheme == "http"}
    if connection.ca_file:
        admin["caCertFilePath"] = connection.ca_file
    if connection.unverified:
        admin["insecureSkipVerify"] = True
    prefixes = ("FLYTE_PLATFORM_", "FLYTE_CREDENTIALS_", "FLYTECTL_CONFIG")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    variables["COLUMNS"] = COLUMNS
    if token := client.token():
        admin |= {"authType": "ExternalCommand", "command": ["printenv", TOKEN_VARIABLE]}
        variables[TOKEN_VARIABLE] = token
    values["admin"] = admin
    with tempfile.TemporaryDirectory(prefix="flyteadmin-run-") as folder:
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(values))
        # flytekit leaves a temporary folder behind.
        yield file, variables | {"TMPDIR": folder}


def watch_or_abort(client: RestClient, place: ExecutionAddress, interrupts: Interrupts, *, json: bool) -> int:
    """Watch an execution; at Ctrl-C ask whether to abort it. Return the exit code."""
    from app.cli.terminal.control import abort
    from app.cli.terminal.watch import LiveTree, advice

    watch = LiveTree(client, place, interrupts, json=json)
    while (code := watch.run()) == INTERRUPTED:
        if not _asked(place, interrupts):
            typer.echo(f"{place} continues; {advice(client, place)}", err=True)
            return INTERRUPTED
        abort(client, place, ABORT_CAUSE)
    return code


def _asked(place: ExecutionAddress, interrupts: Interrupts) -> bool:
    """Return whether a person wants to abort an execution. A second Ctrl-C, and no terminal, are a no."""
    if not sys.stdin.isatty():
        return False
    try:
        with interrupts.raising():
            return typer.confirm(f"\nabort {place}?", default=False, err=True)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo(err=True)
        return False
