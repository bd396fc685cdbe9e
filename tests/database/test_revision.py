"""`make revision`: a new migration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[2]


def test_the_numbers_of_revisions_have_no_gap() -> None:
    """`make revision` counts the files for the number of the next one."""
    revisions = list(ScriptDirectory.from_config(Config(str(ROOT / "alembic.ini"))).walk_revisions())
    expected = [f"{number:04d}" for number in range(len(revisions), 0, -1)]
    assert [revision.revision for revision in revisions] == expected
    assert [Path(revision.path).name[:4] for revision in revisions] == expected


@pytest.mark.slow
def test_a_new_revision_compiles_and_follows_the_last_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("alembic.ini", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    before = ScriptDirectory.from_config(Config(str(tmp_path / "alembic.ini"))).get_current_head()
    assert before is not None
    variables = [f"BIN={Path(sys.executable).parent}", "ARGS=-m 'post add a column'"]
    # -o: the environment of this test serves instead of one that make would install.
    command = ["make", "-o", ".venv/.dev", "revision", *variables]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)

    expected = f"{int(before) + 1:04d}"
    made = tmp_path / "alembic/versions" / f"{expected}_post_add_a_column.py"
    compile(made.read_text(), made, "exec")
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", made]
    subprocess.run(ruff, check=True, capture_output=True, timeout=60)
    script = ScriptDirectory.from_config(Config(str(tmp_path / "alembic.ini")))
    assert script.get_current_head() == expected
    revision = script.get_revision(expected)
    assert revision.down_revision == before
    assert revision.doc == "post add a column"
