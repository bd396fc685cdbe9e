"""Requirements in the archive of code of a fast registration."""

from __future__ import annotations

import io
import os
import tarfile
import tomllib
import zlib

from app.engine.local.processes.forkserver.preload import FAST

_OPTION = "--additional-distribution"
_REQUIREMENTS, _PROJECT = "requirements.txt", "pyproject.toml"
_FILE_BYTES_MAX = 1024 * 1024
_MEMBERS_MAX = 100_000


def uri_of(command: tuple[str, ...]) -> str:
    """Return the archive that a command unpacks, "" for another command."""
    if not command or os.path.basename(command[0]) != FAST or _OPTION not in command[:-1]:
        return ""
    return command[command.index(_OPTION) + 1]


def requirements_of(data: bytes) -> tuple[str, ...]:
    """Return the requirements at the root of an archive; requirements.txt wins over pyproject.toml. Empty for none.

    Raises:
        ValueError: The file cannot be read.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for number, member in enumerate(archive):
                name = os.path.normpath(member.name)
                if name in (_REQUIREMENTS, _PROJECT) and member.isfile():
                    if member.size > _FILE_BYTES_MAX:
                        raise ValueError(f"{name} has more than {_FILE_BYTES_MAX} bytes")
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read()
                if number > _MEMBERS_MAX:
                    raise ValueError(f"it has more than {_MEMBERS_MAX} files")
    except (tarfile.TarError, EOFError, OSError, zlib.error):
        # The command of the task unpacks the archive too, and reports that it cannot.
        return ()
    name = _REQUIREMENTS if _REQUIREMENTS in found else _PROJECT
    return requirements_in(name, found[name]) if name in found else ()


def requirements_in(name: str, content: bytes) -> tuple[str, ...]:
    """Return the requirements in a file: the dependencies of a project, or the lines of a requirements file.

    Args:
        name: The name of the file.
        content: Its content.

    Raises:
        ValueError: It is no text, or no TOML.
    """
    text = content.decode()
    if not name.endswith(".toml"):
        return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    listed = tomllib.loads(text).get("project", {}).get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ValueError("project.dependencies is no list of texts")
    return tuple(listed)
