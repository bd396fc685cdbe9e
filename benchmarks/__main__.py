"""The command behind `make bench` and `make bench-compare`."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import clients, measure, plot, results
from benchmarks.routes import ROUTES, Route
from benchmarks.servers import DATABASES, WORKERS, Missing, bed

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


class Part(StrEnum):
    """What can be measured."""

    ROUTES = "routes"
    ENGINE = "engine"
    START = "start"


@app.command("run")
def run(
    part: Annotated[list[Part] | None, typer.Option(help="Only these; all without it.")] = None,
    route: Annotated[list[str] | None, typer.Option(help="Only routes whose name contains this.")] = None,
    database: Annotated[list[str] | None, typer.Option(help="postgresql or sqlite; both without it.")] = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="How long each run of a client lasts.")] = 3.0,
    pairs: Annotated[int, typer.Option(min=1, help="Runs of each route, each next to one of the unit.")] = 5,
    durable: Annotated[bool, typer.Option(help="PostgreSQL waits for the disk at every commit.")] = False,
    lock: Annotated[Path | None, typer.Option(help="A file to lock while something is measured.")] = None,
    keep: Annotated[bool | None, typer.Option(help="Write to benchmarks/results; by default if all is run.")] = None,
) -> None:
    """Measure the server: its routes under load, its engine, its start."""
    everything = not (part or route or database)
    parts = part or ([Part.ROUTES] if route or database else list(Part))
    chosen = [one for one in ROUTES if not route or any(text.lower() in one.name.lower() for text in route)]
    databases = tuple(one for one in DATABASES if not database or one in database)
    if not chosen or not databases:
        raise typer.BadParameter(f"routes are {', '.join(r.name for r in ROUTES)}; databases {', '.join(DATABASES)}")
    settings = {"seconds": seconds, "pairs": pairs, "durable": durable, "workers": WORKERS}
    result = results.head(**settings)
    try:
        with tempfile.TemporaryDirectory(prefix="flyteadmin-bench-") as folder:
            if Part.ROUTES in parts:
                clients.need(chosen)
                result |= _routes(Path(folder), chosen, databases, settings, lock)
            if Part.ENGINE in parts:
                result |= _engine(Path(folder), lock)
            if Part.START in parts:
                result |= _start(Path(folder), pairs, lock)
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        raise typer.Exit(2) from None
    if keep or (keep is None and everything):
        print(f"written to {results.write(result)}")
    if any(row["errors"] for row in result.get("routes", ())):
        raise typer.Exit(1)


def _routes(
    folder: Path, routes: list[Route], databases: tuple[str, ...], settings: dict[str, Any], lock: Path | None
) -> dict[str, Any]:
    print("filling the databases and starting the servers …", flush=True)
    with bed(folder, databases, durable=settings["durable"]) as made:
        idle = {database: measure.memory(made.servers[database]) for database in databases}
        print(results.line(results.COLUMNS), flush=True)
        rows = []
        for route in routes:
            with held(lock):
                runs = measure.pairs(route, made, databases, seconds=settings["seconds"], count=settings["pairs"])
            for database in databases:
                rows.append(measure.figures(route, database, runs[database]))
                print(results.line(results.cells(rows[-1])), flush=True)
        memory = []
        for database in databases:
            loaded = measure.memory(made.servers[database])
            memory.append({"database": database, "idle_bytes": idle[database], "loaded_bytes": loaded})
            print(results.memory_line(memory[-1]))
    return {"postgresql": made.postgres_version, "routes": rows, "memory_of_workers": memory}


def _engine(folder: Path, lock: Path | None) -> dict[str, Any]:
    from benchmarks import engine

    figures = []
    with engine.served(folder) as server:
        for kind in engine.kinds():
            with held(lock):
                figures.append(engine.measure(server, kind))
            print(engine.line(figures[-1]), flush=True)
    return {"engine": figures}


def _start(folder: Path, pairs: int, lock: Path | None) -> dict[str, Any]:
    from benchmarks import start

    with held(lock):
        figures = start.measure(folder, pairs=pairs)
    print(start.line(figures), flush=True)
    return {"start": figures}


@contextlib.contextmanager
def held(lock: Path | None) -> Iterator[None]:
    """Keep others who lock the same file waiting: machines are shared."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@app.command("compare")
def compare(a: Path, b: Path) -> None:
    """Put two results side by side."""
    before, after = results.read(a), results.read(b)
    for letter, path, one in (("A", a, before), ("B", b, after)):
        print(f"{letter}: {path.name}, {one['machine']['cpu']}, {one['machine']['cores']} cores")
    print("\n".join(results.side_by_side(before, after)))


@app.command("plot")
def draw(result: Path) -> None:
    """Draw the plot that the README shows."""
    plot.PLOT.write_text(plot.svg(results.read(result)))
    print(f"written to {plot.PLOT}")


if __name__ == "__main__":
    app()
