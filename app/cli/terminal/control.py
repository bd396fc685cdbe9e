"""`flyteadmin relaunch`, `recover`, `terminate`, `signal` and `waiting`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.calls import SHORT_TIMEOUT_SECONDS, path_of
from app.cli.options import Output, errors_in_one_line
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import console, outcome_errors, print_json
from app.cli.terminal.places import Domain, Execution, ExecutionAddress, Project, check_place, execution_of, place_of

if TYPE_CHECKING:
    from app.cli.client import RestClient

# Running executions whose signals `waiting` reads.
EXECUTIONS_MAX = 200
SIGNALS_MAX = 1000
APPROVAL = "approval"
# The values of a gate, where its kind does not name them.
_ALLOWED = {APPROVAL: ": true or false", "boolean": ": true or false"}

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the new execution. [default: made up]")]
Watched = Annotated[bool, typer.Option("--watch", "-w", help="Watch it until it ends.")]


def relaunch(
    execution: Execution,
    name: Name = "",
    overwrite_cache: Annotated[
        bool, typer.Option("--overwrite-cache", help="Run cached tasks again, and store their outputs.")
    ] = False,
    watched: Watched = False,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Launch an execution again, with the same inputs."""
    body = {"overwrite_cache": overwrite_cache}
    _again("relaunch", "relaunched as", execution, name, body, watched, project, domain, output, endpoint)


def recover(
    execution: Execution,
    name: Name = "",
    watched: Watched = False,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Launch a failed execution again, with the outputs of the nodes that have succeeded."""
    _again("recover", "recovered as", execution, name, {}, watched, project, domain, output, endpoint)


def _again(
    verb: str,
    done: str,
    text: str,
    name: str,
    body: Mapping[str, Any],
    watched: bool,
    project: str,
    domain: str,
    output: str,
    endpoint: str,
) -> None:
    from app.cli.client import connected
    from app.cli.terminal.interrupts import counted
    from app.cli.terminal.refusals import advised
    from app.cli.terminal.watch import LiveTree, advice, print_outputs

    with outcome_errors(), connected(endpoint) as client:
        old = execution_of(client, text, project, domain)
        with advised(client, old), _named_anew(old, name):
            made = client.call("POST", path_of("executions", verb), {"id": old.id, "name": name, **body})["id"]
        new = ExecutionAddress(made["project"], made["domain"], made["name"])
        if not watched:
            if output == "json":
                print_json({**new.id, "console": new.console(client)})
                return
            typer.echo(f"{old} is {done} {new}")
            typer.echo(advice(client, new))
            return
        with counted() as interrupts:
            code = LiveTree(client, new, interrupts, json=output == "json").run()
        print_outputs(client, new, code, json=output == "json")
        raise SystemExit(code)


@contextmanager
def _named_anew(old: ExecutionAddress, name: str) -> Iterator[None]:
    """Say in a refusal of the block that the name of the new execution is the cause."""
    from app.cli.client import CallRefused
    from app.cli.terminal.refusals import taken
    from app.settings import BadSetting

    try:
        yield
    except CallRefused as error:
        if name and error.status == 409:
            raise taken(ExecutionAddress(old.project, old.domain, name)) from error
        if name and "invalid name format" in str(error):
            raise BadSetting(
                f"{name!r} is no name of an execution; give --name lower-case letters, digits and hyphens"
            ) from error
        raise


def terminate(
    execution: Execution,
    cause: Annotated[str, typer.Option(metavar="TEXT", help="Recorded as the reason.")] = "by flyteadmin terminate",
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Abort a running execution with all its tasks."""
    from app.cli.client import connected

    with errors_in_one_line(), connected(endpoint) as client:
        place = execution_of(client, execution, project, domain)
        abort(client, place, cause)
        if output == "json":
            print_json({**place.id, "cause": cause})
            return
        typer.echo(f"{place} is being aborted; its end: {program()} watch {place.shown(client)}")


def abort(client: RestClient, place: ExecutionAddress, cause: str) -> None:
    """Abort an execution. Raises BadSetting."""
    from app.cli.terminal.refusals import advised

    with advised(client, place):
        client.call("DELETE", path_of("executions", *place.parts), {"cause": cause})


def signal(
    execution: Execution,
    signal_id: Annotated[str, typer.Argument(metavar="SIGNAL", help="Id of the signal, as `waiting` lists it.")],
    value: Annotated[
        str | None,
        typer.Argument(metavar="[VALUE]", help="The value; of an approval true, which is the default, or false."),
    ] = None,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Give a gate the value, or the approval, that it waits for."""
    from app.cli.client import connected
    from app.cli.terminal.values import literal_of, plain, shown
    from app.settings import BadSetting

    with errors_in_one_line(), connected(endpoint) as client:
        place = execution_of(client, execution, project, domain)
        found = {one["id"]["signal_id"]: one for one in _signals(client, place)}
        if not found:
            # Refuses where there is no such execution.
            _workflow_of(client, place)
        if signal_id not in found:
            known = f"it has {', '.join(sorted(found))}" if found else "no gate of it has begun to wait"
            raise BadSetting(
                f"{place} has no signal {signal_id}: {known}; "
                f"see its nodes with `{program()} get {place.shown(client)}`"
            )
        type = found[signal_id].get("type") or {}
        if value is None:
            if (kind := _kind(client, place, found[signal_id])) != APPROVAL:
                raise BadSetting(
                    f"signal {signal_id} waits for a value ({kind}): "
                    f"{program()} signal {place.shown(client)} {shlex.quote(signal_id)} VALUE"
                )
            value = "true"
        try:
            literal = literal_of(type, value)
        except ValueError as error:
            kind = _kind(client, place, found[signal_id])
            raise BadSetting(f"{value!r} is no value of the signal {signal_id} ({kind}): {error}") from error
        if given := found[signal_id].get("value"):
            # A gate uses its first value.
            if plain(given) != plain(literal):
                raise BadSetting(
                    f"signal {signal_id} of {place} has the value {shown(given)}, which its gate uses; "
                    f"see its nodes with `{program()} get {place.shown(client)}`"
                )
        else:
            _send(client, place, signal_id, literal)
        if output == "json":
            print_json({**place.id, "signal": signal_id, "value": value})
            return
        since = "it had this value before, and nothing was sent" if given else "it continues"
        typer.echo(
            f"signal {signal_id} of {place} is {shown(literal)}; {since}: {program()} watch {place.shown(client)}"
        )


def waiting(
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """List the gates of running executions that wait for a person."""
    from app.cli.client import connected
    from app.cli.terminal import times

    with errors_in_one_line(), connected(endpoint, seconds=SHORT_TIMEOUT_SECONDS) as client:
        where = place_of(client, project, domain)
        query = {
            "limit": str(EXECUTIONS_MAX),
            "filters": "eq(phase,RUNNING)",
            "sort_by.key": "created_at",
            "sort_by.direction": "DESCENDING",
        }
        page = client.get(path_of("executions", *where), **query)
        rows = page["executions"]
        if not rows:
            check_place(client, *where)
        places = [ExecutionAddress(row["id"]["project"], row["id"]["domain"], row["id"]["name"]) for row in rows]
        signals = client.each(lambda place: _signals(client, place), places)
        kinds = _Kinds(client)
        found = [
            {
                **place.id,
                "signal": one["id"]["signal_id"],
                "type": kinds.of(one, row["closure"].get("workflow_id") or {}),
                "workflow": (row["closure"].get("workflow_id") or {}).get("name"),
                "launched_at": row["closure"].get("created_at"),
                "command": f"{program()} signal {place.shown(client)} {shlex.quote(one['id']['signal_id'])} VALUE",
            }
            for row, place, of_execution in zip(rows, places, signals, strict=True)
            for one in of_execution
            if not one.get("value")
        ]
        if output == "json":
            print_json(found)
            return
        screen = console()
        for one in found:
            kind = f"{one['type']}{_ALLOWED.get(one['type'], '')}"
            screen.print(
                f"{one['name']}  {one['workflow']}  waits for {one['signal']} ({kind}), "
                f"launched {times.ago(one['launched_at'])}",
                soft_wrap=True,
            )
            screen.print(f"  {one['command']}", style="dim", soft_wrap=True)
        if not found:
            screen.print(f"nothing in {'/'.join(where)} waits for a person")
        if page.get("token"):
            screen.print(f"only the latest {EXECUTIONS_MAX} running executions were read")


def _signals(client: RestClient, place: ExecutionAddress) -> list[dict[str, Any]]:
    from app.cli.terminal.refusals import advised

    with advised(client, place):
        found = client.get(path_of("signals", *place.parts), limit=str(SIGNALS_MAX))
    return list(found.get("signals") or [])


class _Kinds:
    """The values that gates wait for, as people call them. Each workflow is read once, and only where it matters."""

    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._approvals: dict[tuple[str, ...], set[str]] = {}

    def of(self, signal: Mapping[str, Any], workflow: Mapping[str, Any]) -> str:
        """Return `approval`, or the name of the signal's type."""
        type = signal.get("type") or {}
        if is_boolean(type):
            key = tuple(map(str, workflow.values()))
            if key not in self._approvals:
                self._approvals[key] = _approvals(self._client, workflow)
            if signal["id"]["signal_id"] in self._approvals[key]:
                return APPROVAL
        return type_name(type)


def _kind(client: RestClient, place: ExecutionAddress, signal: Mapping[str, Any]) -> str:
    """Return `approval`, or the name of the signal's type."""
    type = signal.get("type") or {}
    return _Kinds(client).of(signal, _workflow_of(client, place) if is_boolean(type) else {})


def _workflow_of(client: RestClient, place: ExecutionAddress) -> Mapping[str, Any]:
    return _closure(client, place).get("workflow_id") or {}


def _closure(client: RestClient, place: ExecutionAddress) -> Mapping[str, Any]:
    from app.cli.terminal.refusals import advised

    with advised(client, place):
        row = client.get(path_of("executions", *place.parts))
    return dict(row["closure"])


def _send(client: RestClient, place: ExecutionAddress, signal_id: str, literal: Mapping[str, Any]) -> None:
    """Send a signal. Servers also take those of executions that have ended, which nothing reads."""
    from app.cli.terminal import phases
    from app.cli.terminal.refusals import advised
    from app.settings import BadSetting

    phase = str(_closure(client, place).get("phase"))
    if phase in phases.TERMINAL:
        raise BadSetting(
            f"{place} has ended ({phase.lower().replace('_', ' ')}), so that no gate of it waits; "
            f"launch it again with `{program()} relaunch {place.shown(client)}`"
        )
    body = {"id": {"signal_id": signal_id, "execution_id": place.id}, "value": literal}
    with advised(client, place):
        client.call("POST", path_of("signals"), body)


def _approvals(client: RestClient, workflow: Mapping[str, Any]) -> set[str]:
    """Return the signals of a workflow's approvals; none of a workflow that cannot be read.

    Gates inside of dynamic workflows are missing: the server has these workflows with their nodes only.
    """
    from app.cli.client import CallRefused
    from app.cli.terminal.workflow_names import approvals_in

    parts = [str(workflow.get(part) or "") for part in ("project", "domain", "name", "version")]
    if not all(parts):
        return set()
    try:
        found = client.get(path_of("workflows", *parts))
    except CallRefused:
        return set()
    return approvals_in((found.get("closure") or {}).get("compiled_workflow") or {})


def is_boolean(type: Mapping[str, Any]) -> bool:
    """Return whether values of a type are true and false."""
    return str(type.get("simple") or "") == "BOOLEAN"


def type_name(type: Mapping[str, Any]) -> str:
    """Return the name of a type for people."""
    simple = str(type.get("simple") or "")
    if simple and simple != "NONE":
        return simple.lower()
    if values := (type.get("enum_type") or {}).get("values"):
        return f"one of {', '.join(values)}"
    if inner := type.get("collection_type"):
        return f"list of {type_name(inner)}"
    return next((name.removesuffix("_type") for name, value in type.items() if value), "value")
