"""Find files that lie at the top of the repository, and in this folder in an installed wheel (setup.py)."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parents[1]


def path(name: str) -> Path:
    """Return the path of a file, such as "alembic.ini" or "openapi/flyte.json"."""
    installed = _HERE / name
    return installed if installed.exists() else _REPOSITORY / name
