"""`flyteadmin logs`: print or follow the logs of one node or of all."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.calls import STREAMS_MAX
from app.cli.options import INTERRUPTED, Output, errors_in_one_line
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.output import print_json_line
from app.cli.terminal.places import Domain, Execution, Project, execution_of

if TYPE_CHECKING:
    from app.cli.client import RestClient
    from app.cli.terminal.interrupts import Interrupts
    from app.cli.terminal.log_lines import LogSource
    from app.cli.terminal.places import ExecutionAddress
    from app.cli.terminal.tree import Node, NodeTree, TreeReader

SOURCES_MAX = 10_000
SECONDS = 1.0
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)


def logs(
    execution: Execution,
    node: Annotated[
        str, typer.Argument(metavar="[NODE]", help="Id of a node, or the name of its task. [default: all nodes]")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="The attempt, from 0. [default: the last one]")
    ] = None,
    index: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="The element of a map. [default: all]")
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=0, max=100_000, metavar="LINES", help="Only the last lines of each log.")
    ] = None,
    project: Project = "",
    domain: Domain = "",
    output: Output = "text",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Print the output of tasks, with the node in front of each line.

    Logs are read from this server's own route. Of other servers, the links to their log systems are printed. Ctrl-C
    ends the command; the tasks continue.
    """
    from app.cli.client import connected
    from app.cli.terminal.interrupts import counted
    from app.cli.terminal.tree import TreeReader

    with errors_in_one_line(), connected(endpoint) as client:
        place = execution_of(client, execution, project, domain)
        chosen = Chosen(client, TreeReader(client, place), place, node, attempt, index)
        printer = Printer(json=output == "json")
        with counted() as interrupts:
            if Reading(client, chosen, printer, interrupts, tail=tail).run(follow=follow):
                raise SystemExit(INTERRUPTED)


class Chosen:
    """The logs that a command asks for.

    Args:
        client: The client.
        reader: Reads the execution.
        place: The execution.
        node: The id of a node or the name of a task; "" for all.
        attempt: The attempt; None for the last one.
        index: The element of a map; None for all.
    """

    def __init__(
        self,
        client: RestClient,
        reader: TreeReader,
        place: ExecutionAddress,
        node: str,
        attempt: int | None,
        index: int | None,
    ) -> None:
        self._client = client
        self._reader = reader
        self._place = place
        self._node = node
        self._attempt = attempt
        self._index = index

    def read(self) -> tuple[NodeTree, list[LogSource]]:
        """Return the execution and its logs at present.

        Raises:
            BadSetting: There is no such execution or node.
        """
        from app.cli.terminal import draw
        from app.settings import BadSetting

        tree = self._reader.read()
        nodes = list(tree.walk())
        if self._node:
            wanted = [node for node in nodes if self._matches(node)]
            if not wanted:
                known = ", ".join(f"{node.id} ({draw.name_of(node)})" if node.name else node.id for node in nodes[:20])
                raise BadSetting(f"{self._place} has no node {self._node}; its nodes: {known or 'none yet'}")
            nodes = list({one.id: one for node in wanted for one in node.walk()}.values())
        self._reader.add_attempts(nodes)
        found = [source for node in nodes for source in self._sources(node)]
        return tree, found[:SOURCES_MAX]

    @property
    def part(self) -> str:
        """The chosen attempt or element in words; `a log` for all."""
        chosen = (("attempt", self._attempt), ("element", self._index))
        return " and ".join(f"{word} {number}" for word, number in chosen if number is not None) or "a log"

    def _matches(self, node: Node) -> bool:
        from app.cli.terminal import draw

        task = draw.name_of(node).removesuffix(" (map)")
        names = (node.id, node.spec_id, node.name, node.name.rpartition(".")[2], task, task.rpartition(".")[2])
        return self._node.removesuffix(" (map)") in names

    def _sources(self, node: Node) -> list[LogSource]:
        from app.cli.terminal.log_lines import source_of

        found = []
        rows = node.rows if self._attempt is not None else node.rows[-1:]
        for row in rows:
            number = int(row["id"].get("retry_attempt") or 0)
            if self._attempt not in (None, number):
                continue
            closure = row["closure"]
            label = node.id if number == 0 else f"{node.id} attempt {number}"
            elements = (closure.get("metadata") or {}).get("external_resources") or []
            links = [
                (f"{label}[{one.get('index') or 0}]", one.get("phase"), log)
                for one in elements
                if self._index in (None, int(one.get("index") or 0))
                for log in one.get("logs") or []
            ]
            if not links and self._index is None:
                links = [(label, closure.get("phase"), log) for log in closure.get("logs") or []]
            for name, phase, log in links:
                ended = phase in ("SUCCEEDED", "FAILED", "ABORTED")
                found.append(source_of(name, str(log.get("uri") or ""), ended=ended))
        return found


class Printer:
    """Prints lines of several logs, each line whole.

    Args:
        json: Whether lines are printed as JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._lock = threading.Lock()
        self._terminal = sys.stdout.isatty()
        self._colours: dict[str, int] = {}

    def line(self, source: LogSource, text: str) -> None:
        """Print one line with the label of its source."""
        from app.cli.terminal.log_lines import cleaned

        if self._json:
            with self._lock:
                print_json_line({"node": source.label, "line": cleaned(text, colours=False)})
            return
        label = source.label
        if self._terminal:
            colour = self._colours.setdefault(label.partition("[")[0], _COLOURS[len(self._colours) % len(_COLOURS)])
            label = f"\x1b[{colour}m{label}\x1b[0m"
        with self._lock:
            typer.echo(f"{label} │ {cleaned(text, colours=self._terminal)}")

    def note(self, source: LogSource, text: str) -> None:
        """Print a remark about a log on stderr."""
        with self._lock:
            typer.echo(f"{source.label}: {text}", err=True)


class Reading:
    """Prints the logs of an execution, and those that come while it runs.

    Args:
        client: The client.
        chosen: The logs.
        printer: The output.
        interrupts: Ctrl-C.
        tail: The number of last lines; None for all.
    """

    def __init__(
        self, client: RestClient, chosen: Chosen, printer: Printer, interrupts: Interrupts, *, tail: int | None
    ) -> None:
        self._client = client
        self._chosen = chosen
        self._printer = printer
        self._interrupts = interrupts
        self._tail = tail

    def run(self, *, follow: bool) -> bool:
        """Print the logs; return whether Ctrl-C ended it.

        Raises:
            BadSetting: There is no such execution or node.
        """
        tree, sources = self._chosen.read()
        if not follow:
            return self._print_in_order(tree, sources)
        begun: set[str] = set()
        running: set[Future[None]] = set()
        pool = ThreadPoolExecutor(STREAMS_MAX)
        try:
            while True:
                for source in sources:
                    if source.uri not in begun:
                        begun.add(source.uri)
                        running.add(pool.submit(self._print, source, follow=True))
                running = {future for future in running if not future.done()}
                if tree.ended and not running:
                    return False
                if self._interrupts.pause(SECONDS):
                    return True
                if not tree.ended:
                    tree, sources = self._chosen.read()
        finally:
            # Streams end when the client closes: their threads do not wait for the tasks.
            pool.shutdown(wait=False, cancel_futures=True)
            if running:
                self._client.close()

    def _print_in_order(self, tree: Any, sources: list[LogSource]) -> bool:
        if not sources:
            has = self._chosen.part
            hint = f"no task of it has {has}" if tree.ended or has != "a log" else "none of its tasks has begun"
            typer.echo(f"no logs: {hint}; see its nodes with `{program()} get {tree.place}`", err=True)
        for source in sources:
            if self._interrupts.pressed.is_set():
                return True
            self._print(source, follow=False)
        return False

    def _print(self, source: LogSource, *, follow: bool) -> None:
        from app.cli.client import CallRefused, ServerUnreachable
        from app.cli.terminal.log_lines import lines

        if not source.path:
            self._printer.note(source, f"the log is in another system: {source.uri or 'no address is known'}")
            return
        try:
            for line in lines(self._client, source, follow=follow and not source.ended, tail=self._tail):
                self._printer.line(source, line)
                if self._interrupts.pressed.is_set():
                    return
        except (CallRefused, ServerUnreachable) as error:
            if not self._interrupts.pressed.is_set():
                self._printer.note(source, str(error))
