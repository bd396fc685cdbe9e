"""Keep the promise of `make test-fast`: a test that is not marked slow starts no process."""

from __future__ import annotations

import sys
from typing import Any

import pytest

FIXTURES = {"plane", "postgres", "postgres_url", "s3", "templates"}
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")
_fast: str | None = None


def marked_slow(item: pytest.Item) -> bool:
    """Return whether a test is slow: by a marker, or because it uses PostgreSQL or a fixture that starts processes."""
    params = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    starts = "postgresql" in params or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
    return starts or any(item.iter_markers("slow")) or any(item.iter_markers("campaign"))


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
        raise RuntimeError(f"{_fast} starts a process ({event} {arguments[0]!r}); mark it slow")


sys.addaudithook(_refuse)
