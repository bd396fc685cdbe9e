"""Requirements in the archive of code of a fast registration."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tomllib
import zlib
from typing import IO, cast

from app.engine.local.processes.forkserver.preload import FAST

_OPTION = "--additional-distribution"
_REQUIREMENTS, _PROJECT = "requirements.txt", "pyproject.toml"
_FILE_BYTES_MAX = 1024 * 1024
_MEMBERS_MAX = 100_000
# Bytes of the unpacked archive that are searched. Beyond them the files are not found, which is no error.
_UNPACKED_BYTES_MAX = 1024**3
# Bytes that tarfile reads at once. More are asked for by extended headers alone, which it holds in memory.
_READ_BYTES_MAX = 4 * 1024 * 1024
# Lines that name the code itself, which the task has in its working directory.
_CODE_ITSELF = frozenset({"-e .", "-e ./", "--editable .", "--editable=.", ".", "./"})
_GZIP = b"\x1f\x8b"


class _Limited:
    """Reads an archive, unpacked by gzip if it is packed, up to a limit.

    Args:
        data: The archive.
    """

    def __init__(self, data: bytes) -> None:
        packed = io.BytesIO(data)
        self._file: gzip.GzipFile | io.BytesIO = gzip.GzipFile(fileobj=packed) if data[:2] == _GZIP else packed

    def read(self, size: int) -> bytes:
        """Return bytes, fewer at the end. Raises OSError for more than the limit."""
        if not 0 <= size <= _READ_BYTES_MAX:
            raise OSError("the archive has a header that is too large")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        """Go to a place. Raises OSError for a place beyond the limit."""
        if offset > _UNPACKED_BYTES_MAX:
            raise OSError("the archive unpacks to more than is searched")
        return self._file.seek(offset)

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._file.tell()


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
        with tarfile.open(fileobj=cast(IO[bytes], _Limited(data)), mode="r:") as archive:
            for _ in range(_MEMBERS_MAX):
                member = archive.next()
                if member is None or len(found) == 2:
                    break
                # tarfile keeps all members, which are not needed.
                archive.members.clear()  # type: ignore[attr-defined] # typeshed lacks it
                name = os.path.normpath(member.name)
                if name in (_REQUIREMENTS, _PROJECT) and member.isfile():
                    if member.size > _FILE_BYTES_MAX:
                        raise ValueError(f"{name} has more than {_FILE_BYTES_MAX} bytes")
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read()
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
        ValueError: The content is no text, or no TOML.
    """
    text = content.decode()
    if not name.endswith(".toml"):
        lines = (line.strip() for line in text.splitlines())
        return tuple(line for line in lines if line and not line.startswith("#") and line not in _CODE_ITSELF)
    listed = tomllib.loads(text).get("project", {}).get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ValueError("project.dependencies is no list of texts")
    return tuple(listed)
