"""Output of these commands: text through Rich, JSON, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from app.cli.options import errors_in_one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# The exit code where the outcome of an execution could not be found out.
UNKNOWN = 3

# Longest line in a pipe, in characters. A cell of a table and a text that folds are cut at this width there.
PIPE_CHARACTERS_MAX = 100_000


def console() -> Console:
    """Return the console of stdout. Pipes get plain text whose lines are not cut."""
    import sys

    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        highlight=False, markup=False, soft_wrap=not terminal, width=None if terminal else PIPE_CHARACTERS_MAX
    )


def show(screen: Console, drawing: RenderableType) -> None:
    """Print a drawing without the blanks that fill its lines."""
    with screen.capture() as captured:
        screen.print(drawing)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_rows(rows: list[dict[str, str]], *, json: bool) -> None:
    """Print rows with the same keys as a JSON list, or as a table in which the keys are the heading.

    Without rows the table is empty.
    """
    if json:
        print_json(rows)
    elif rows:
        cells = [[key.replace("_", " ").upper() for key in rows[0]], *(list(row.values()) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON, for commands that print while an execution runs."""
    import orjson

    typer.echo(orjson.dumps(value))


@contextmanager
def outcome_errors() -> Iterator[None]:
    """Exit as `errors_in_one_line`, with code UNKNOWN in place of 1, which stands for a failed execution."""
    try:
        with errors_in_one_line():
            yield
    except SystemExit as exit:
        if exit.code == 1 and exit.__cause__ is not None:
            raise SystemExit(UNKNOWN) from exit.__cause__
        raise
