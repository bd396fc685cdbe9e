"""Draw an execution for a terminal, with Rich."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.client import RestClient
from app.cli.program import program
from app.cli.terminal import phases, times
from app.cli.terminal.tree import Node, NodeTree

# Rows that one level shows before it is folded, and rows of a drawing.
LEVEL_ROWS_MAX = 30
ROWS_MAX = 300
ERRORS_MAX = 5
ERROR_LINES_MAX = 12
_MAP = re.compile(r"(.*\.)?map_(.+)_[0-9a-f]{32}(?:-arraynode)?")
_CACHE = {
    "CACHE_HIT": "cached",
    "CACHE_POPULATED": "stored in cache",
    "CACHE_LOOKUP_FAILURE": "cache not readable",
    "CACHE_PUT_FAILURE": "not stored in cache",
    "CACHE_SKIPPED": "cache skipped",
    "CACHE_EVICTED": "cache evicted",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a tree.

    Attributes:
        prefix: The lines of the tree before it.
        node: The node; None for a fold.
        text: The text of a fold.
    """

    prefix: str
    node: Node | None
    text: str = ""


def rows_of(nodes: Sequence[Node], *, level_rows_max: int = LEVEL_ROWS_MAX, rows_max: int = ROWS_MAX) -> list[Row]:
    """Return the rows that a tree shows.

    Of a level with too many nodes, those that failed or run come first and the others are counted.
    """
    rows: list[Row] = []
    for row in _rows(nodes, "", level_rows_max):
        if len(rows) == rows_max:
            rows.append(Row("", None, f"more nodes are left out: the limit is {rows_max} rows (--all shows all)"))
            break
        rows.append(row)
    return rows


def _rows(nodes: Sequence[Node], prefix: str, level_rows_max: int) -> Iterator[Row]:
    shown, folded = _folded(nodes, level_rows_max)
    for at, node in enumerate(shown):
        last = at == len(shown) - 1 and not folded
        yield Row(prefix + ("└─ " if last else "├─ "), node)
        yield from _rows(node.nodes, prefix + ("   " if last else "│  "), level_rows_max)
    if folded:
        yield Row(prefix + "└─ ", None, folded)


def _folded(nodes: Sequence[Node], rows_max: int) -> tuple[Sequence[Node], str]:
    """Return the nodes of a level that are shown, and a line that counts the others."""
    if len(nodes) <= rows_max:
        return nodes, ""
    order = {phase: rank for rank, phase in enumerate(phases.NOTABLE)}
    ranked = sorted(range(len(nodes)), key=lambda at: order.get(nodes[at].phase, len(order)))
    chosen = sorted(ranked[:rows_max])
    counts: dict[str, int] = {}
    for at in ranked[rows_max:]:
        counts[nodes[at].phase] = counts.get(nodes[at].phase, 0) + 1
    return [nodes[at] for at in chosen], f"and {counted(counts)} (--all shows all)"


def counted(counts: dict[str, int]) -> str:
    """Return numbers by phase as text, such as `9,970 succeeded, 3 failed`."""
    order = {phase: rank for rank, phase in enumerate(phases.NOTABLE)}
    ranked = sorted(counts.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
    return ", ".join(f"{number:,} {phase.lower().replace('_', ' ')}" for phase, number in ranked)


def picture(tree: NodeTree, client: RestClient, rows: Sequence[Row], *, height: int | None = None) -> RenderableType:
    """Return the drawing of an execution.

    Args:
        tree: The execution.
        client: The client, for addresses.
        rows: The rows of its nodes.
        height: The number of lines of the terminal; None for no limit.
    """
    head = heading(tree, client)
    errors = list(_errors(tree, client))
    if height is not None:
        room = max(3, height - 6 - (4 if errors else 0))
        if len(rows) > room:
            rows = [*rows[: room - 1], Row("", None, f"{len(rows) - room + 1} more rows; enlarge the window")]
        errors = errors[:1]
    body = table(rows) if rows else Text("no node has begun", style="dim")
    return Group(*head, Text(""), body, *errors)


def heading(tree: NodeTree, client: RestClient) -> list[Text]:
    """Return the lines above the tree."""
    look = phases.look_of(tree.phase)
    first = Text.assemble(
        (str(tree.place), "bold"), "  ", (f"{look.sign} {tree.phase}", look.style), f"  {times.shown(tree.seconds)}"
    )
    plan = tree.row["spec"]["launch_plan"]
    metadata = tree.row["spec"].get("metadata") or {}
    created = times.ago(tree.row["closure"].get("created_at"), tree.read_at)
    by = f" by {metadata['principal']}" if metadata.get("principal") else ""
    second = Text.assemble(
        ("workflow ", "dim"),
        tree.workflow,
        ("  version ", "dim"),
        plan["version"],
        (f"  launched {created}{by}", "dim"),
    )
    address = tree.place.console(client)
    # As a link, the address can be opened where it is wrapped, too.
    lines = [first, second, Text.assemble(("console  ", "dim"), (address, f"link {address}"), overflow="fold")]
    if cause := (tree.row["closure"].get("abort_metadata") or {}).get("cause"):
        lines.append(Text.assemble(("aborted  ", "dim"), cause))
    return lines


def table(rows: Sequence[Row]) -> Table:
    """Return the nodes as a table: tree, phase, duration, notes."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=None)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for row in rows:
        if row.node is None:
            grid.add_row(Text(f"{row.prefix}…", style="dim"), "", "", Text(row.text, style="dim"))
            continue
        node = row.node
        look = phases.look_of(node.phase)
        name = Text.assemble((row.prefix, "dim"), (node.id, "bold"), " ", name_of(node))
        phase = Text(f"{look.sign} {node.phase.lower().replace('_', ' ')}", style=look.style)
        grid.add_row(name, phase, times.shown(node.seconds), Text(", ".join(notes(node)), style="dim"))
    return grid


def name_of(node: Node) -> str:
    """Return the name of a node for people: flytekit names the task of a map by a digest."""
    found = _MAP.fullmatch(node.name)
    return f"{found[1]}{found[2]} (map)" if found is not None else node.name or node.kind


def notes(node: Node) -> list[str]:
    """Return the remarks behind a node."""
    found = []
    if node.elements is not None and node.elements.size:
        found.append(f"{node.elements.size:,} elements: {counted(node.elements.phases)}")
        if node.elements.failed:
            indices = ", ".join(map(str, node.elements.failed[:5]))
            found.append(f"failed indices {indices}{', …' if len(node.elements.failed) > 5 else ''}")
    if node.attempts is not None and node.attempts > 1:
        found.append(f"{node.attempts} attempts")
    if note := _CACHE.get(node.cache):
        found.append(note)
    if node.signal:
        found.append(f"waits for the signal {node.signal}")
    if node.child is not None:
        found.append(f"execution {node.child.name}")
    if node.reason and (node.phase == "QUEUED" or (node.phase == "RUNNING" and not node.has_started)):
        # Further lines are notices, which the log has too.
        found.append(node.reason.splitlines()[0])
    return found


def causes(tree: NodeTree) -> list[Node]:
    """Return the lowest failed nodes; the first ERRORS_MAX of them are drawn with their errors."""
    # A node that was aborted because another one failed is no cause.
    return [
        node
        for node in tree.walk()
        if node.error and node.phase != "ABORTED" and not any(below.error for below in node.nodes)
    ]


def _errors(tree: NodeTree, client: RestClient) -> Iterator[RenderableType]:
    """Yield the errors of the lowest failed nodes, with the command that shows the log."""
    failed = causes(tree)
    for node in failed[:ERRORS_MAX]:
        yield Text("")
        yield Text.assemble((f"✗ {node.id}", "bold red"), f" {name_of(node)}  ", (node.code, "red"))
        yield from _indented(node.error)
        if node.attempts and node.has_started:
            yield Text(f"  log: {program()} logs {tree.place.shown(client)} {node.id}", style="dim")
    if len(failed) > ERRORS_MAX:
        yield Text(f"\n… and {len(failed) - ERRORS_MAX:,} more errors (--output json has them)", style="dim")
    error = tree.row["closure"].get("error") or {}
    if not failed and error.get("message"):
        yield Text("")
        yield Text.assemble(("✗ ", "bold red"), (str(error.get("code") or ""), "red"))
        yield from _indented(str(error["message"]))


def _indented(message: str) -> Iterator[Text]:
    for line in shortened(message).splitlines():
        yield Text(f"  {line}", overflow="fold")


def shortened(message: str) -> str:
    """Return an error with its first lines and its last ones, where a traceback has the reason."""
    # A killed task leaves the heading of its message without a message.
    lines = message.strip().removesuffix("Message:").rstrip().splitlines()
    if len(lines) <= ERROR_LINES_MAX:
        return "\n".join(lines)
    first, last = lines[:2], lines[2 - ERROR_LINES_MAX :]
    return "\n".join((*first, f"… {len(lines) - ERROR_LINES_MAX} lines left out", *last))
