"""The capability file: the one that is generated and the one that was given hold the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.mcp import adapter, capability, tools
from tests.support.servers import run

GIVEN = Path(__file__).parent / "admin-executions.yaml"


@pytest.mark.slow
def test_the_command_prints_what_was_given(tmp_path: Path) -> None:
    printed = run(tmp_path / "home", "capability")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout) == yaml.safe_load(GIVEN.read_text())
    # It says what there is, and makes nothing.
    assert not (tmp_path / "home").exists()


def test_every_operation_is_served() -> None:
    exposed = capability.document()["capability"]["exposes"]
    resources = {resource["path"]: resource["operations"] for resource in exposed[0]["resources"]}
    for tool in tools.OPERATIONS:
        operations = {one["name"]: one["method"] for one in resources[adapter.path_of(tool)]}
        binding = adapter.served(tool).bindings[0]
        assert operations[tool.operation] == binding.verb
        assert binding.template.replace(".", "-") == adapter.path_of(tool)
