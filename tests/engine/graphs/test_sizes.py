"""Values as large as the limit allows, and larger ones, at every place where the engine stores or reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import DOMAIN, PROJECT, Remote

pytestmark = pytest.mark.campaign

LIMIT = 2**20
# What a map of one text needs besides the text.
OVERHEAD = 64


@pytest.fixture(scope="module")
def small(
    plane: Plane, empty_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A client of a server whose limit is 1 MiB, and its home."""
    home: Path = tmp_path_factory.mktemp("small") / "home"
    variables = {"FLYTEADMIN__STORAGE__LIMITS__MAX_DOWNLOAD_MBS": "1", "FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": "4"}
    with plane(home, empty_database("sqlite"), **variables) as (_, client):
        client.script("register.py", "sizes")
        yield client


def outputs(remote: Remote, name: str) -> Any:
    closure = remote.wait(name)
    assert closure["phase"] == "SUCCEEDED", closure
    literals = remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_outputs"]["literals"]
    return [int(one["scalar"]["primitive"]["integer"]) for one in literals["o0"]["collection"]["literals"]]


@pytest.mark.parametrize("size", [LIMIT - OVERHEAD, LIMIT, 3 * LIMIT], ids=["below", "at", "above"])
def test_values_of_every_site_are_read_back(small: Remote, size: int) -> None:
    expected = [size, 4 * size, 4 * size, 3 * size, 2 * size, 4 * size, size, size]
    name = small.launch("sizes.sites", {"size": size})
    assert outputs(small, name) == expected
    assert outputs(small, small.again("relaunch", name)) == expected
    assert outputs(small, small.again("recover", name)) == expected


def test_what_cannot_be_offloaded_fails_its_node_with_the_setting(small: Remote) -> None:
    error = small.wait(small.launch("sizes.too_large", {"size": LIMIT // 2}))["error"]
    assert error["code"] == "OutputSizeExceeded"
    assert "max allowed [1048576] bytes (storage.limits.maxDownloadMBs)" in error["message"]


def test_inputs_are_refused_at_the_launch(small: Remote) -> None:
    assert small.wait(small.launch("sizes.given", {"one": "x" * (LIMIT - OVERHEAD)}))["phase"] == "SUCCEEDED"
    with pytest.raises(AssertionError, match=r"inputs have \d+ bytes.*storage.limits.maxDownloadMBs, which is 1"):
        small.launch("sizes.given", {"one": "x" * LIMIT})
