"""`flyteadmin watch`: draw an execution until it ends, and exit with its outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from app.cli.options import INTERRUPTED, Output
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import console, outcome_errors, print_json_line, show
from app.cli.terminal.places import Domain, Execution, Project, execution_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from app.cli.client import RestClient
    from app.cli.terminal.draw import Row
    from app.cli.terminal.interrupts import Interrupts
    from app.cli.terminal.places import ExecutionAddress
    from app.cli.terminal.tree import NodeTree

SECONDS_MIN = 1.0
# A large execution is read less often, so that reading it takes a fifth of the time at most.
_PART_OF_TIME = 4.0
# Time for which a server may not answer before the watch ends.
OUTAGE_SECONDS_MAX = 60.0


def watch(
    execution: Execution,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Draw an execution until it ends.

    The exit code is the outcome: 0 where it succeeded, 1 where it failed, was aborted or timed out, 3 where the outcome
    could not be found out, 130 after Ctrl-C. Ctrl-C ends the watch; the execution continues.
    """
    from app.cli.client import connected
    from app.cli.terminal.interrupts import counted

    with outcome_errors(), connected(endpoint) as client:
        place = execution_of(client, execution, project, domain)
        with counted() as interrupts:
            code = LiveTree(client, place, interrupts, json=output == "json").run()
        print_outputs(client, place, code, json=output == "json")
        if code == INTERRUPTED:
            typer.echo(f"the watch has ended, {place} continues; {advice(client, place)}", err=True)
        raise SystemExit(code)


def advice(client: RestClient, place: ExecutionAddress) -> str:
    """Return the commands that watch or end an execution."""
    name = place.shown(client)
    return f"watch it with `{program()} watch {name}`, end it with `{program()} terminate {name}`"


def print_outputs(client: RestClient, place: ExecutionAddress, code: int, *, json: bool) -> None:
    """Print the outputs of an execution that has ended with an exit code, in JSON with the code.

    The exit code stays where the outputs cannot be read.
    """
    from app.cli.terminal import outputs

    if code == INTERRUPTED:
        return
    literals = (outputs.read(client, place) if code == 0 else None) or {}
    if json:
        print_json_line({**place.id, "exit_code": code, "outputs": outputs.plain(literals)})
    else:
        outputs.show(literals)


class LiveTree:
    """Draws one execution until it ends or Ctrl-C is pressed.

    Args:
        client: The client.
        place: The execution.
        interrupts: Ctrl-C.
        json: Whether each change is printed as a line of JSON.
    """

    def __init__(
        self, client: RestClient, place: ExecutionAddress, interrupts: Interrupts, *, json: bool = False
    ) -> None:
        from app.cli.terminal.tree import TreeReader

        self._client = client
        self._place = place
        self._interrupts = interrupts
        self._json = json
        self._reader = TreeReader(client, place)
        # The phase of each node that was printed last, where there is no terminal.
        self._printed: dict[str, str] = {}

    def run(self) -> int:
        """Return the exit code: the outcome, or INTERRUPTED.

        Raises:
            BadSetting: The server refuses, or does not answer for OUTAGE_SECONDS_MAX.
        """
        from app.cli.terminal import phases

        screen = console()
        live = screen.is_terminal and not self._json
        tree = None
        with _live(screen) if live else _nothing() as drawing:
            while tree is None or not tree.ended:
                began = time.monotonic()
                tree = self._read(drawing)
                if tree is None:
                    return INTERRUPTED
                self._show(tree, screen, drawing)
                if tree.ended:
                    break
                if self._interrupts.pause(max(SECONDS_MIN, _PART_OF_TIME * (time.monotonic() - began))):
                    return INTERRUPTED
        return phases.exit_code(tree.phase)

    def _read(self, drawing: Live | None) -> NodeTree | None:
        """Return the execution; None after Ctrl-C. Repeat the call while the server does not answer."""
        from app.cli.client import CallRefused, ServerUnreachable

        since = time.monotonic()
        while True:
            try:
                return self._reader.read()
            except (ServerUnreachable, CallRefused) as error:
                passing = isinstance(error, ServerUnreachable) or error.status in (429, 502, 503, 504)
                if not passing or time.monotonic() - since > OUTAGE_SECONDS_MAX:
                    raise
                if drawing is not None:
                    from rich.text import Text

                    drawing.update(Text(f"waiting for the server: {error}", style="yellow"), refresh=True)
            if self._interrupts.pause(SECONDS_MIN):
                return None

    def _show(self, tree: NodeTree, screen: Console, drawing: Live | None) -> None:
        from app.cli.terminal import draw

        rows = draw.rows_of(tree.nodes)
        if drawing is None:
            self._print_changes(tree, screen)
            if tree.ended and not self._json:
                self._read_details(tree, rows)
                screen.print()
                show(screen, draw.picture(tree, self._client, rows))
            return
        self._read_details(tree, rows)
        height = None if tree.ended else screen.size.height
        drawing.update(draw.picture(tree, self._client, rows, height=height), refresh=True)

    def _read_details(self, tree: NodeTree, rows: Sequence[Row]) -> None:
        from app.cli.terminal import draw

        self._reader.add_attempts([row.node for row in rows if row.node is not None])
        self._reader.add_errors(draw.causes(tree)[: draw.ERRORS_MAX])

    def _print_changes(self, tree: NodeTree, screen: Console) -> None:
        """Print a line for each node whose phase is another one than before."""
        from app.cli.terminal import draw, phases, times

        for id, phase, name, seconds in (
            *((node.id, node.phase, draw.name_of(node), node.seconds) for node in tree.walk()),
            ("", tree.phase, str(tree.place), tree.seconds),
        ):
            if self._printed.get(id) == phase or phase == phases.WAITING:
                continue
            self._printed[id] = phase
            if self._json:
                line: dict[str, Any] = {"node": id or None, "name": name, "phase": phase, "seconds": seconds}
                print_json_line(line)
                continue
            word = phase.lower().replace("_", " ")
            took = f"  {times.shown(seconds)}" if phase in phases.TERMINAL and seconds is not None else ""
            screen.print(f"{phases.look_of(phase).sign} {f'{id} ' if id else ''}{name}  {word}{took}")


@contextmanager
def _live(screen: Console) -> Iterator[Live]:
    from rich.live import Live

    with Live(console=screen, auto_refresh=False, vertical_overflow="visible") as drawing:
        yield drawing


@contextmanager
def _nothing() -> Iterator[None]:
    yield None
