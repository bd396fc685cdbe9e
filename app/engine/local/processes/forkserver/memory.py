"""The memory of fork servers, which forked processes share until one of them writes to a page."""

from __future__ import annotations

import gc

from app.system import system


def prepare_forks() -> None:
    """Make forks of this process cheaper. Called once, after its imports."""
    gc.collect()
    # The collector skips frozen objects. It would write to their pages, and forked processes could not share these.
    gc.freeze()
    system.use_huge_pages()
