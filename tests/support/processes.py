"""Which target of make runs a test, and the promise of `make test-fast`: its tests start no process.

| the test | markers | runs in |
|---|---|---|
| starts no process | | test-fast, test, test-all |
| starts no process and takes more than about a tenth of a second | heavy | test, test-all |
| needs PostgreSQL and no other process | slow | test, test-all |
| starts processes or takes seconds, and is one of the few that stand for the others | slow, smoke | test, test-all |
| starts processes or takes seconds | slow, long | test-all |
| takes minutes, or needs further tools | campaign | a target of its own |

`slow` and `long` are added here where fixtures and parameters show them; the rest is written at the test.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

FIXTURES = {"plane", "s3", "templates"}
POSTGRESQL = {"postgres", "postgres_url"}
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")
_fast: str | None = None


def add_markers(item: pytest.Item) -> None:
    """Add `slow` and `long` where the table above has them."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if any(item.iter_markers("slow")) or fixtures & FIXTURES:
        item.add_marker("slow")
        if not any(item.iter_markers("smoke")):
            item.add_marker("long")
        return
    params = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    if "postgresql" in params or fixtures & POSTGRESQL:
        item.add_marker("slow")


def marked_slow(item: pytest.Item) -> bool:
    """Return whether a test may start processes."""
    return any(item.iter_markers("slow")) or any(item.iter_markers("campaign"))


def enter(item: pytest.Item) -> None:
    """Refuse new processes from now on if the test is not marked slow."""
    global _fast
    _fast = None if marked_slow(item) else item.nodeid


def leave() -> None:
    """Allow new processes."""
    global _fast
    _fast = None


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _fast is not None and event in STARTS:
        raise RuntimeError(f"{_fast} starts a process ({event} {arguments[:1]!r}); mark it slow")


sys.addaudithook(_refuse)
