"""The pages for readers: generated ones are current, and links lead to files."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def test_the_page_of_deviations_is_current() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "deviations.py"))["page"]()
    assert page == (ROOT / "docs" / "deviations.md").read_text(), "run `make generate`"


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
