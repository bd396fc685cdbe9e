"""The watch of an import, which decides whether tasks can share its result."""

from __future__ import annotations

import sys
import time

import pytest

from app.engine.local.processes.forkserver.import_watch import watched


def test_a_module_cannot_end_the_watch_by_a_profile_function_of_its_own() -> None:
    with watched(["pyflyte-execute"]) as watch:
        assert watch.refused == ""
        sys.setprofile(None)
        time.time()
    assert watch.refused == "does sys.setprofile"
    assert sys.getprofile() is None


@pytest.mark.parametrize("attribute", ["time", "perf_counter_ns"])
def test_the_time_is_noticed(attribute: str) -> None:
    with watched(["pyflyte-execute"]) as watch:
        getattr(time, attribute)()
    assert watch.refused == f"calls time.{attribute}"
