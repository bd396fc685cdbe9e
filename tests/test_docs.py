"""The pages for readers: links lead to files, and examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    missing = [target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_paths_exist(page: Path) -> None:
    """Paths of the repository in backticks, but for the change log, which names those of earlier versions."""
    if page.name == "CHANGELOG.md":
        return
    named = re.findall(r"`((?:app|tests|openapi|alembic|docs|benchmarks|examples)/[\w./-]*)`", page.read_text())
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.heavy
def test_the_example_of_a_host_application_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYTEADMIN_ENGINE", "none")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    with TestClient(names["host"], base_url="http://localhost") as client:
        assert client.get("/flyte/api/v1/projects").json() == {"projects": [], "token": ""}
