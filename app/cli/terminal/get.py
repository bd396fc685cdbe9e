"""`flyteadmin get`: draw an execution, or list the latest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.calls import path_of
from app.cli.options import Output, errors_in_one_line
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import console, print_json
from app.cli.terminal.output import show as print_drawing
from app.cli.terminal.places import Domain, Project, check_place, execution_of, place_of

if TYPE_CHECKING:
    from app.cli.client import RestClient
    from app.cli.terminal.places import ExecutionAddress
    from app.cli.terminal.tree import Node, NodeTree


def get(
    execution: Annotated[
        str,
        typer.Argument(
            metavar="[EXECUTION]", help="Its name, PROJECT/DOMAIN/NAME or address. [default: list the latest ones]"
        ),
    ] = "",
    all_rows: Annotated[bool, typer.Option("--all", help="Fold nothing: show every node.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The number of executions of a list.")] = 20,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Draw the nodes of an execution with phases, durations, attempts, cache marks and errors, and its outputs."""
    from app.cli.client import connected

    with errors_in_one_line(), connected(endpoint) as client:
        if not execution:
            _list(client, project, domain, limit, output)
            return
        show(client, execution_of(client, execution, project, domain), output, all_rows=all_rows)


def show(client: RestClient, place: ExecutionAddress, output: str, *, all_rows: bool = False) -> None:
    """Print one execution. Raises BadSetting."""
    from app.cli.terminal import draw, outputs
    from app.cli.terminal.tree import TreeReader

    reader = TreeReader(client, place)
    tree = reader.read()
    most = 10**9 if all_rows else draw.LEVEL_ROWS_MAX
    rows = draw.rows_of(tree.nodes, level_rows_max=most, rows_max=most if all_rows else draw.ROWS_MAX)
    reader.add_attempts([row.node for row in rows if row.node is not None])
    reader.add_errors(draw.causes(tree)[: draw.ERRORS_MAX])
    literals = outputs.read(client, place) if tree.phase == "SUCCEEDED" else None
    if output == "json":
        print_json({**as_json(tree, client), "outputs": None if literals is None else outputs.plain(literals)})
        return
    print_drawing(console(), draw.picture(tree, client, rows))
    outputs.show(literals or {})


def as_json(tree: NodeTree, client: RestClient) -> dict[str, Any]:
    """Return an execution with its nodes for programs."""
    closure = tree.row["closure"]
    return {
        **tree.place.id,
        "workflow": tree.workflow,
        "version": tree.row["spec"]["launch_plan"]["version"],
        "phase": tree.phase,
        "created_at": closure.get("created_at"),
        "started_at": closure.get("started_at"),
        "seconds": tree.seconds,
        "error": closure.get("error"),
        "cause": (closure.get("abort_metadata") or {}).get("cause"),
        "console": tree.place.console(client),
        "nodes": [_node(node) for node in tree.nodes],
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "spec_id": node.spec_id,
        "name": node.name,
        "kind": node.kind,
        "phase": node.phase,
        "seconds": node.seconds,
        "attempts": node.attempts,
        "cache": node.cache,
        "error": {"code": node.code, "message": node.error} if node.error else None,
        "signal": node.signal or None,
        "execution": None if node.child is None else node.child.id,
        "elements": None if node.elements is None else node.elements.phases,
        "logs": [{"name": log.get("name"), "uri": log.get("uri")} for log in node.logs],
        "nodes": [_node(below) for below in node.nodes],
    }


def _list(client: RestClient, project: str, domain: str, limit: int, output: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from app.cli.terminal import phases, times

    place = place_of(client, project, domain)
    query = {"limit": str(limit), "sort_by.key": "created_at", "sort_by.direction": "DESCENDING"}
    rows = client.get(path_of("executions", *place), **query)["executions"]
    if not rows:
        check_place(client, *place)
    if output == "json":
        print_json([_execution(row) for row in rows])
        return
    screen = console()
    if not rows:
        chosen = f"-p {place[0]} -d {place[1]} " if project or domain else ""
        screen.print(f"no execution in {'/'.join(place)}; launch one with `{program()} run {chosen}FILE WORKFLOW`")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("execution", "workflow", "phase", "took", "launched"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        one = _execution(row)
        look = phases.look_of(one["phase"])
        phase = Text(f"{look.sign} {one['phase'].lower()}", style=look.style)
        table.add_row(one["name"], one["workflow"], phase, times.shown(one["seconds"]), times.ago(one["created_at"]))
    print_drawing(screen, table)
    if len(rows) == limit:
        screen.print(f"\nthe latest {limit} of {'/'.join(place)}; --limit shows more")


def _execution(row: dict[str, Any]) -> dict[str, Any]:
    from app.cli.terminal import times

    closure = row["closure"]
    return {
        **{part: row["id"][part] for part in ("project", "domain", "name")},
        "workflow": (closure.get("workflow_id") or {}).get("name") or row["spec"]["launch_plan"]["name"],
        "version": row["spec"]["launch_plan"]["version"],
        "phase": closure["phase"],
        "created_at": closure.get("created_at"),
        "seconds": times.seconds_of(closure.get("duration")),
    }
