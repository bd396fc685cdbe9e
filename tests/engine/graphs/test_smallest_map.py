"""One map in every test run; test_maps.py has them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.graphs.conftest import Plane


@pytest.mark.slow
def test_a_map_tolerates_as_many_failures_as_it_says(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    with plane(tmp_path / "home", empty_database("sqlite")) as (_, remote):
        remote.script("register.py", "smallest_map")
        name = remote.launch("smallest_map.most", {"xs": [1, 2, 3]})
        assert remote.outputs(name) == {"o0": [10, 20]}
        (row,) = remote.attempts(name, "n0")
        resources = row["metadata"]["external_resources"]
        assert [one["phase"] for one in resources] == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
        assert "too large" in remote.text("/logs/" + resources[2]["logs"][0]["uri"].partition("/logs/")[2]).text
        name = remote.launch("smallest_map.most", {"xs": [3, 3, 2]})
        assert remote.wait(name)["error"]["message"].startswith("[0-1]: Trace:")
