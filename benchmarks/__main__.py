"""The command behind `make bench` and `make bench-compare`."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import clients, measure, plot, results
from benchmarks.routes import ROUTES, Route
from benchmarks.servers import DATABASES, WORKERS, Missing, bed

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


# How long to wait for a moment without other programs that lock the same file.
LOCK_WAIT_SECONDS_MAX = 10


class Part(StrEnum):
    """What can be measured."""

    ROUTES = "routes"
    ENGINE = "engine"
    START = "start"
    BEARER = "bearer"
    SCHEDULES = "schedules"
    KUBERNETES = "kubernetes"
    PEERS = "peers"


@app.command("run")
def run(
    part: Annotated[list[Part] | None, typer.Option(help="Only these; without it all but peers.")] = None,
    route: Annotated[list[str] | None, typer.Option(help="Only routes whose name contains this.")] = None,
    database: Annotated[list[str] | None, typer.Option(help="postgresql or sqlite; both without it.")] = None,
    seconds: Annotated[int, typer.Option(min=1, help="How long each run of a client lasts.")] = 3,
    pairs: Annotated[int, typer.Option(min=1, help="Runs of each route, each next to one of the unit.")] = 5,
    durable: Annotated[bool, typer.Option(help="PostgreSQL waits for the disk at every commit.")] = False,
    ghz: Annotated[bool, typer.Option(help="Load gRPC with ghz, as Go's figures were taken.")] = False,
    schedules: Annotated[int, typer.Option(min=100, help="Schedules that are due in one minute.")] = 10_000,
    lock: Annotated[Path | None, typer.Option(help="A file to lock while measuring, on a shared machine.")] = None,
    keep: Annotated[bool | None, typer.Option(help="Write to benchmarks/results; by default if all is run.")] = None,
) -> None:
    """Measure the server: its routes under load, its engine, its start."""
    everything = not (part or route or database)
    parts = part or ([Part.ROUTES] if route or database else [part for part in Part if part is not Part.PEERS])
    chosen = [one for one in ROUTES if not route or any(text.lower() in one.name.lower() for text in route)]
    databases = _databases(database)
    if not chosen:
        raise typer.BadParameter(f"routes are {', '.join(r.name for r in ROUTES)}")
    settings = {"seconds": seconds, "pairs": pairs, "durable": durable, "ghz": ghz, "workers": WORKERS}
    result = results.head(**settings)
    try:
        with tempfile.TemporaryDirectory(prefix="flyteadmin-bench-") as folder:
            if Part.ROUTES in parts or Part.BEARER in parts:
                clients.need(chosen, ghz)
            for each in parts:
                if each is Part.ROUTES:
                    result |= _routes(Path(folder), chosen, databases, settings, lock)
                elif each is Part.BEARER:
                    result |= _bearer(Path(folder), databases, settings, lock)
                elif each is Part.SCHEDULES:
                    result |= _schedules(Path(folder), databases, schedules, lock)
                elif each is Part.PEERS:
                    result |= _peers(Path(folder), lock)
                elif each is Part.KUBERNETES:
                    result |= _kubernetes(Path(folder), databases, settings, lock)
                else:
                    result |= _engine(Path(folder), lock) if each is Part.ENGINE else _start(Path(folder), pairs, lock)
                if keep or (keep is None and everything):
                    print(f"written to {results.write(result)}")
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        raise typer.Exit(2) from None
    if any(row["errors"] for row in (*result.get("routes", ()), *result.get("bearer", ()))):
        raise typer.Exit(1)


def _databases(names: list[str] | None) -> tuple[str, ...]:
    """Those that are named, or all."""
    if unknown := set(names or ()) - set(DATABASES):
        raise typer.BadParameter(f"no database is called {', '.join(unknown)}; there are {', '.join(DATABASES)}")
    return tuple(one for one in DATABASES if not names or one in names)


def _routes(
    folder: Path, routes: list[Route], databases: tuple[str, ...], settings: dict[str, Any], lock: Path | None
) -> dict[str, Any]:
    print("filling the databases and starting the servers …", flush=True)
    with bed(folder, databases, durable=settings["durable"]) as made:
        idle = {database: measure.memory(made.servers[database]) for database in databases}
        print(results.line(results.COLUMNS), flush=True)
        rows = []
        for route in routes:
            with held(lock) as alone:
                how = {"seconds": settings["seconds"], "count": settings["pairs"], "ghz": settings["ghz"]}
                runs = measure.pairs(route, made, databases, **how)
            for database in databases:
                rows.append(measure.figures(route, database, runs[database]) | {"alone": alone})
                print(results.line(results.cells(rows[-1])), flush=True)
        memory = []
        for database in databases:
            loaded = measure.memory(made.servers[database])
            memory.append({"database": database, "idle_bytes": idle[database], "loaded_bytes": loaded})
            print(results.memory_line(memory[-1]))
    return {"postgresql": made.postgres_version, "routes": rows, "memory_of_workers": memory}


def _bearer(folder: Path, databases: tuple[str, ...], settings: dict[str, Any], lock: Path | None) -> dict[str, Any]:
    from benchmarks import bearer

    figures = []
    below = folder / "bearer"
    below.mkdir()
    with bed(below, databases, durable=settings["durable"]) as made, held(lock) as alone:
        for row in bearer.measured(made, seconds=settings["seconds"], count=settings["pairs"]):
            figures.append(row | {"alone": alone})
            print(bearer.line(row), flush=True)
    return {"bearer": figures}


def _schedules(folder: Path, databases: tuple[str, ...], number: int, lock: Path | None) -> dict[str, Any]:
    from benchmarks import schedules

    figures = []
    for database in databases:
        with held(lock) as alone:
            how: dict[str, Any] = {"schedules": number, "requests": min(number, 2_000), "idle_seconds": 30.0}
            figures.append(schedules.measure(folder, database, **how) | {"alone": alone})
        print(schedules.line(figures[-1]), flush=True)
    return {"schedules": figures}


def _kubernetes(
    folder: Path, databases: tuple[str, ...], settings: dict[str, Any], lock: Path | None
) -> dict[str, Any]:
    from benchmarks import kubernetes

    figures = []
    below = folder / "kubernetes"
    below.mkdir()
    with bed(below, databases, durable=settings["durable"], serve=False) as made, held(lock) as alone:
        for row in kubernetes.measured(made, databases=databases, seconds=settings["seconds"], count=settings["pairs"]):
            figures.append(row | {"alone": alone})
            print(kubernetes.line(row), flush=True)
    return {"kubernetes": figures}


def _engine(folder: Path, lock: Path | None) -> dict[str, Any]:
    from benchmarks import engine

    figures = []
    for reuse_workers in (False, True):
        with engine.served(folder, reuse_workers=reuse_workers) as server:
            for kind in engine.kinds():
                if kind.reuse_workers == reuse_workers:
                    with held(lock) as alone:
                        figures.append(engine.measure(server, kind) | {"alone": alone})
                    print(engine.line(figures[-1]), flush=True)
    return {"engine": figures}


def _peers(folder: Path, lock: Path | None) -> dict[str, Any]:
    from benchmarks import peers

    figures = []
    for kind in peers.TASKS:
        with held(lock) as alone:
            figures.append(peers.measure(folder, kind) | {"alone": alone})
        print(peers.line(figures[-1]), flush=True)
    return {"peers": figures}


def _start(folder: Path, pairs: int, lock: Path | None) -> dict[str, Any]:
    from benchmarks import start

    with held(lock) as alone:
        figures = start.measure(folder, pairs=pairs) | {"alone": alone}
    print(start.line(figures), flush=True)
    return {"start": figures}


@contextlib.contextmanager
def held(lock: Path | None) -> Iterator[bool]:
    """Keep others who lock the same file waiting, or at least share it with them; whether this program is alone."""
    if lock is None:
        yield True
        return
    with lock.open("a") as file:
        deadline, alone = time.monotonic() + LOCK_WAIT_SECONDS_MAX, False
        while not alone and time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                time.sleep(0.05)
        if not alone:
            fcntl.flock(file, fcntl.LOCK_SH)
        yield alone


@app.command("scale")
def scaled(
    executions: Annotated[int, typer.Option(help="Executions of the big database.")] = 1_000_000,
    versions: Annotated[int, typer.Option(help="Its versions of each kind.")] = 50_000,
    small_executions: Annotated[int, typer.Option(help="Executions of the small database.")] = 1_000,
    small_versions: Annotated[int, typer.Option(help="Its versions of each kind.")] = 1_000,
    database: Annotated[list[str] | None, typer.Option(help="postgresql or sqlite; both without it.")] = None,
    only: Annotated[str, typer.Option(help="A pattern of the names of cases.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Requests of each case to each server.")] = 15,
    pages: Annotated[int, typer.Option(min=0, help="Pages to follow of each long list; 0 for none.")] = 10_000,
    filled: Annotated[Path | None, typer.Option(help="A file with a URL and a folder per line: small, big.")] = None,
    lock: Annotated[Path | None, typer.Option(help="A file to lock while measuring, on a shared machine.")] = None,
    keep: Annotated[bool, typer.Option(help="Write to benchmarks/results.")] = True,
) -> None:
    """Measure lists and gets on a small and a big database, and compiling by the number of nodes."""
    from benchmarks import compiling, scale
    from benchmarks.load import Size

    sizes = Size(small_executions, small_versions), Size(executions, versions)
    databases = _databases(database)
    if given := scale.listed(filled, sizes) if filled else None:
        databases = ("sqlite" if given[0].url.startswith("sqlite") else "postgresql",)
    how: dict[str, Any] = {"rounds": rounds, "pages": pages, "only": only}
    result = results.head(**how)

    def show(text: str) -> None:
        print(text, flush=True)

    with held(lock) as alone:
        result["compiling"] = [figure | {"alone": alone} for figure in compiling.figures()]
    show("\n".join(map(compiling.line, result["compiling"])))
    result["scale"] = []
    try:
        with tempfile.TemporaryDirectory(prefix="flyteadmin-bench-") as folder:
            for each in databases:
                show(f"{each}: {sizes[0]} and {sizes[1]}")
                made = contextlib.nullcontext(given) if given else scale.filled(Path(folder), each, sizes, show)
                with made as (small, big):
                    figures = scale.measure(small, big, **how, alone=lambda: held(lock), show=show)
                result["scale"].append({"database": each, **figures})
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        raise typer.Exit(2) from None
    if keep:
        show(f"written to {results.write(result, '-scale')}")


@app.command("compare")
def compare(a: Path, b: Path) -> None:
    """Put two results side by side."""
    before, after = results.read(a), results.read(b)
    for letter, path, one in (("A", a, before), ("B", b, after)):
        print(f"{letter}: {path.name}, {one['machine']['cpu']}, {one['machine']['cores']} cores")
    print("\n".join(results.side_by_side(before, after)))


@app.command("profile")
def profiled(route: list[str], database: str = "postgresql", seconds: Annotated[int, typer.Option(min=1)] = 10) -> None:
    """Show where the server's time goes in the routes whose names contain these texts."""
    from benchmarks import profile

    chosen = [one for one in ROUTES if any(text.lower() in one.name.lower() for text in route)]
    with (
        tempfile.TemporaryDirectory(prefix="flyteadmin-bench-") as folder,
        bed(Path(folder), (database,), durable=False) as made,
    ):
        for one in chosen:
            print("\n".join((f"{one.name} on {database}", *profile.record(one, made, database, seconds), "")))


@app.command("plot")
def draw(result: Path) -> None:
    """Draw the plot that the README shows."""
    plot.PLOT.write_text(plot.svg(results.read(result)))
    print(f"written to {plot.PLOT}")


if __name__ == "__main__":
    app()
