"""Results: what one run of the benchmark found, on what; as JSON, as a table, and two of them side by side."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

FOLDER = Path(__file__).with_name("results")
FORMAT = 1
MEMORY_BYTES_TARGET = 200 * 2**20
LIBRARIES = (
    *("fastapi", "flyteidl", "grpcio", "httptools", "orjson", "protobuf", "psycopg", "pydantic", "sqlalchemy"),
    *("sqlmodel", "starlette", "uvicorn", "uvloop", "zttp"),
)


def commit() -> str:
    """The commit that is measured, with "-changed" behind it where the files differ from it."""
    root = Path(__file__).parent
    made = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=root, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True)
    return (made.stdout.strip() or "unknown") + ("-changed" if changed.stdout.strip() else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def head(**settings: Any) -> dict[str, Any]:
    """What a result says of the moment, the code, the machine and the settings of the run."""
    return {
        "format": FORMAT,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
        "settings": settings,
    }


def write(result: dict[str, Any], kind: str = "") -> Path:
    """Keep a result; where. kind: the end of its name, for what is no result of `make bench`"""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{result['at'][:10]}-{result['commit']}{kind}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def read(path: Path) -> dict[str, Any]:
    """A result that was kept. errors: ValueError for another format"""
    result: dict[str, Any] = json.loads(path.read_text())
    if result.get("format") != FORMAT:
        raise ValueError(f"{path} has format {result.get('format')}, this program reads {FORMAT}")
    return result


COLUMNS = (
    *("route", "database", "req/s", "p50 ms", "p99 ms", "CPU µs", "db µs", "unit/s", "ratio", "by CPU"),
    *("Go", "target", ""),
)
_TITLES = {"ratio": "ratio", "cpu_us_per_request": "CPU", "p99_ms": "p99", "small_ms": "small", "big_ms": "big"}
Figures = tuple[tuple[str, Callable[[float], str]], ...]
_WIDTHS = (48, 11)


def line(texts: Iterable[str]) -> str:
    """Cells of one row under each other's: two columns of text, then numbers."""
    texts = list(texts)
    left = "".join(f"{text:<{width}}" for text, width in zip(texts, _WIDTHS, strict=False))
    return left + " ".join(f"{text:>8}" for text in texts[len(_WIDTHS) :])


def cells(row: dict[str, Any]) -> list[str]:
    """One route as the cells of the table."""
    said = "met" if row["met"] else "not met"
    if row["errors"]:
        said = f"{row['errors']} ERRORS {row['problem']}".rstrip()
    return [
        row["route"],
        row["database"],
        f"{row['requests_per_second']:,.0f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p99_ms']:.1f}",
        f"{row['cpu_us_per_request']:,.0f}",
        f"{row['database_cpu_us_per_request']:,.0f}",
        f"{row['unit_per_second']:,.0f}",
        ratio(row["ratio"]),
        ratio(row["ratio_by_cpu"]),
        ratio(row["ratio_go"]),
        ratio(row["ratio_target"]),
        said,
    ]


def memory_line(memory: dict[str, Any]) -> str:
    """Resident memory of the workers as text."""

    def shown(sizes: list[int]) -> str:
        return " and ".join(f"{size / 2**20:.0f}" for size in sizes)

    return (
        f"memory, {memory['database']}: workers of {shown(memory['idle_bytes'])} MiB resident before the load, "
        f"{shown(memory['loaded_bytes'])} MiB after it; target {MEMORY_BYTES_TARGET / 2**20:.0f}"
    )


def ratio(value: float) -> str:
    """A ratio with two digits that mean something."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


_ROUTES = (("ratio", ratio), ("cpu_us_per_request", "{:,.0f}".format), ("p99_ms", "{:.1f}".format))
_CASES = (("ratio", ratio), ("small_ms", "{:.2f}".format), ("big_ms", "{:.2f}".format))


def side_by_side(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Two results: each figure that both have, and how many times the second is the first."""
    found = _compared("route", _ROUTES, before.get("routes", ()), after.get("routes", ()))
    cases = [
        [case | {"database": one["database"]} for one in result.get("scale", ()) for case in one["cases"]]
        for result in (before, after)
    ]
    return found + _compared("case", _CASES, *cases)


def _compared(name: str, figures: Figures, before: Iterable[Any], after: Iterable[Any]) -> list[str]:
    """A table of the figures of all rows that are known before and after; nothing where there are none."""
    known = {(row[name], row["database"]): row for row in before}
    lines = []
    for row in after:
        old = known.get((row[name], row["database"]))
        if old is None:
            continue
        texts = [row[name], row["database"]]
        for key, shown in figures:
            texts += [shown(old[key]), shown(row[key]), f"{row[key] / old[key]:.2f}" if old[key] else "–"]
        lines.append(line(texts))
    titles = [(f"{_TITLES[key]} A", f"{_TITLES[key]} B", "B/A") for key, _ in figures]
    return [line((name, "database", *chain(*titles))), *lines] if lines else []
