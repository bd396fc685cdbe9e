"""`flyteadmin status`: the state of a server, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.cli.calls import SHORT_TIMEOUT_SECONDS, path_of
from app.cli.options import Output, errors_in_one_line
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import console, print_json, show
from app.cli.terminal.places import Domain, Project, check_place, place_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from app.cli.client import RestClient

PATH = "/api/v1/status"
# States of an environment in words; no words for one that is ready.
_STATES = {"making": "is being made", "ready": ""}
_UNITS = ("B", "kB", "MB", "GB", "TB")


def status(
    context: typer.Context,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Show ports, database, storage, environments, the work of the engine, the last error, and what to do next.

    The exit code is 1 where the server does not answer or is not ready.
    """
    from app.cli.client import ServerUnreachable, connected

    with errors_in_one_line(), connected(endpoint, seconds=SHORT_TIMEOUT_SECONDS) as client:
        try:
            found = _read(client)
            found["latest"] = _latest(client, project, domain)
        except ServerUnreachable as error:
            found = {"address": client.url, "source": client.connection.source, "problem": str(error), **_offline()}
        found["next"] = list(advice(found))
        if output == "json":
            print_json(found)
        else:
            show(console(), picture(found))
        if found.get("problem") or found.get("not_ready"):
            raise SystemExit(1)


def _read(client: RestClient) -> dict[str, Any]:
    """Return the state of a server; of one without our route only its version. Raises BadSetting."""
    from app.cli.client import CallRefused

    where = {"address": client.url, "source": client.connection.source}
    try:
        return {**where, **client.get(PATH)}
    except CallRefused as error:
        if error.status not in (404, 501):
            raise
    plane = client.get("/api/v1/version").get("control_plane_version") or {}
    text = "this server has no /api/v1/status: it is another flyteadmin, whose state this command cannot show"
    return {**where, "version": plane.get("version") or plane.get("Version") or "", "other": text}


def _latest(client: RestClient, project: str, domain: str) -> dict[str, Any]:
    """Return the latest execution, and the latest failed one, of a project and domain."""
    from app.cli.client import ServerUnreachable
    from app.settings import BadSetting

    place = place_of(client, project, domain)
    query = {"limit": "1", "sort_by.key": "created_at", "sort_by.direction": "DESCENDING"}
    found: dict[str, Any] = {"project": place[0], "domain": place[1]}
    for name, filters in (("execution", {}), ("failed", {"filters": "eq(phase,FAILED)"})):
        try:
            rows = client.get(path_of("executions", *place), **query, **filters)["executions"]
            if name == "execution" and not rows:
                check_place(client, *place)
        except ServerUnreachable:
            raise
        except BadSetting as error:
            # A person may see the state of the server without a role in this project.
            return {**found, "problem": str(error)}
        if rows:
            closure = rows[0]["closure"]
            message = ((closure.get("error") or {}).get("message") or "").strip().splitlines()
            found[name] = {
                "name": rows[0]["id"]["name"],
                "phase": closure["phase"],
                "created_at": closure.get("created_at"),
                "error": message[-1].strip()[:200] if message else "",
            }
    return found


def _offline() -> dict[str, Any]:
    """Return what this machine has of a server that does not run."""
    from app.cli.sign_in.connection import home
    from app.server.home import holder

    folder = home()
    database = folder / "flyteadmin.db"
    return {
        "home": str(folder),
        "process": holder(folder) or None,
        "database": {"address": str(database), "bytes": database.stat().st_size if database.exists() else None},
        "environments": [{"name": "default"}] if (folder / "envs" / "default").exists() else [],
    }


def advice(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to do next, the most urgent first."""
    if found.get("problem"):
        if found.get("process"):
            yield (
                f"process {found['process']} serves from {found['home']}: "
                "wait until it is ready, or give its address with --endpoint; "
                "if it stays like this, see its log and start it again"
            )
        else:
            yield f"start the server: {program()} serve"
        return
    for name in found.get("not_ready") or ():
        yield f"the {name} does not answer: see the server's log"
    for name, reason in (found.get("services") or {}).items():
        if reason:
            yield f"{name} does not work: {reason}"
    engine = found.get("engine") or {}
    if engine.get("kind") == "none":
        yield "executions are only recorded: set engine.kind to local to run them here"
    environments = found.get("environments") or ()
    if engine.get("kind") == "local":
        yield from _advice_on_environments(environments)
    latest = found.get("latest") or {}
    if "execution" not in latest and "problem" not in latest:
        yield f"run a first workflow: {program()} hello"
    execution, failed = latest.get("execution"), latest.get("failed")
    if execution and execution["phase"] in ("QUEUED", "RUNNING"):
        yield f"watch the latest execution: {program()} watch {execution['name']}"
    if failed and execution and failed["name"] == execution["name"]:
        yield f"see why the latest execution failed: {program()} get {failed['name']}"
    if engine.get("running"):
        yield f"see what waits for a person: {program()} waiting"
    if execution and execution["phase"] == "SUCCEEDED":
        yield f"run a workflow of yours: {program()} run FILE WORKFLOW"


def _advice_on_environments(environments: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    def named(state: str) -> list[str]:
        return [one["name"] for one in environments if (one.get("state") or "ready") == state]

    making, failed = named("making"), named("failed")
    if named("ready"):
        for name in making:
            yield f"wait for environment {name}, which is being made: {program()} envs shows its progress"
    elif making or not failed:
        yield "wait until the task environment is made (the server prints `task environment: ready`)"
    else:
        yield f"see why the task environment was not made: {program()} envs log {failed[0]}"


def picture(found: Mapping[str, Any]) -> RenderableType:
    """Return the drawing."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if problem := found.get("problem"):
        head = Text.assemble(("✗ not reachable", "bold red"), f"  {problem}")
    elif found.get("not_ready"):
        head = Text.assemble(("✗ not ready", "bold red"), f"  {', '.join(found['not_ready'])} does not answer")
    else:
        head = Text.assemble(("✓ running", "green"), f"  {found['address']}  (named by {found['source']})")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _rows(found):
        grid.add_row(label, text)
    steps = [Text(f"  {step}", overflow="fold") for step in found["next"]]
    return Group(head, Text(""), grid, *([Text("\nnext", style="bold"), *steps] if steps else []))


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from app.cli.terminal import times

    if other := found.get("other"):
        yield "version", str(found.get("version") or "unknown")
        yield "state", other
    if started := found.get("started_at"):
        yield "version", f"{found['version']}, started {times.ago(started)}"
    if home := found.get("home"):
        yield "home", _short(home)
    if addresses := found.get("addresses"):
        yield "ports", ", ".join(f"{name} {address}" for name, address in addresses.items())
    for part in ("database", "storage"):
        if one := found.get(part):
            yield part, f"{_short(one['address'])}  {size(one)}"
    for one in found.get("environments") or ():
        if one.get("state") == "failed":
            text = f"was not made, see {program()} envs log {one['name']}; {program()} envs prune removes it"
            yield "environment", f"{one['name']}  {text}"
            continue
        where = _short(one["path"]) if "path" in one else ""
        state = one.get("state") or "ready"
        parts = (one["name"], where, size(one) if "bytes" in one else "", _STATES.get(state, state))
        yield "environment", "  ".join(filter(None, parts))
    if engine := found.get("engine"):
        yield "engine", f"{engine['kind']}: {engine['running']} running, {engine['queued']} queued"
    if problem := (found.get("latest") or {}).get("problem"):
        yield "latest", problem
    if execution := (found.get("latest") or {}).get("execution"):
        yield "latest", f"{execution['name']}  {execution['phase'].lower()}, {times.ago(execution['created_at'])}"
    if failed := (found.get("latest") or {}).get("failed"):
        yield "last failure", f"{failed['name']}, {times.ago(failed['created_at'])}: {failed['error']}"
    if last := found.get("last_error"):
        yield "last log", f"{last['level']} {last['event']} at {last['time']}: {last['reason']}"
    elif "last_error" in found:
        yield "last log", "no error or warning"


def size(one: Mapping[str, Any]) -> str:
    """Return the size of a folder or database for people."""
    if one.get("bytes") is None:
        return "(size unknown)"
    number = float(one["bytes"])
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    shown = f"{number:.0f} {_UNITS[unit]}" if unit < 2 else f"{number:.1f} {_UNITS[unit]}"
    return shown if one.get("complete", True) else f"more than {shown}"


def _short(path: str) -> str:
    users = str(Path.home())
    return f"~{path[len(users) :]}" if path.startswith(users + os.sep) else path
