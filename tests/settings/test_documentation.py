"""Each setting has a docstring, and the reference is made of these."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings.documentation import documented, markdown, wrapped
from tests.settings.reads import leaves
from tests.test_tidy import METAPHORS

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.heavy
def test_each_setting_is_documented() -> None:
    fields = [one for one in documented() if one.default is not None]
    assert len(fields) == len(list(leaves()))
    for one in documented():
        assert one.text.endswith("."), one.key
        assert not METAPHORS.search(one.text), one.key


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == markdown(), "run: flyteadmin config docs > docs/settings.md"


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("server.httpPort", "- `server.httpPort` (`30080`): Port of REST, gRPC and the documentation."),
        ("server.data_proxy.upload", "- `server.dataProxy.upload.maxExpiresIn` (`1h`): Longest validity"),
        ("logger", "- `logger.level` (`4`): "),
        ("limits", "- `limits.keptJsonBytesMax` (`33554432`, 32 MiB): "),
        ("home", "In the environment also `FLYTEADMIN_HOME`."),
        ("mcp.port", "Flag `--mcp-port`."),
        ("engine.kind", "Allowed: `local`, `kubernetes`, `none`."),
        ("domains", "- `domains[].id` (required): "),
        ("scheduler", "**No effect**: schedules are stored in the database only."),
        ("task_type_whitelist", "- `task_type_whitelist.<name>[].project` "),
    ],
)
def test_a_part_of_the_reference(key: str, line: str) -> None:
    assert line in markdown(key)


def test_a_part_holds_nothing_else() -> None:
    assert markdown("server.http").count("\n") == 1
    assert markdown("nothing") == ""


def test_lines_are_wrapped_for_a_terminal() -> None:
    lines = wrapped(markdown("server"), 60).split("\n")
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("  ") for line in lines)
