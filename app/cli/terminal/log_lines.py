"""Lines of logs: from a server's route for logs, with the node's name in front, from several attempts at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from app.cli.client import CallRefused, RestClient

# A longer line is cut, so that memory is bounded.
LINE_BYTES_MAX = 64 * 1024
_MARK = "/logs/"
# Colours stay, other sequences could move the cursor, change the title or hide text.
_SEQUENCES = re.compile(
    r"\x1b\[(?![0-9;]*m)[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|$)"
    r"|\x1b(?!\[[0-9;]*m).?"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class LogSource:
    """The log of one attempt, or of one element of a map.

    Attributes:
        label: The name in front of its lines.
        path: The path of the log at the server; "" for a log of another system.
        query: The query of the path.
        uri: The link as the task execution has it.
        ended: Whether the attempt had ended when the link was read.
    """

    label: str
    path: str
    query: tuple[tuple[str, str], ...]
    uri: str
    ended: bool


def source_of(label: str, uri: str, *, ended: bool) -> LogSource:
    """Return the source of a log link."""
    parts = urlsplit(uri)
    at = parts.path.find(_MARK) if parts.scheme in ("http", "https") else -1
    # The path of this server's route has five parts or more behind /logs/.
    path = parts.path[at:] if at >= 0 and parts.path[at:].count("/") >= 6 else ""
    return LogSource(label, path, tuple(parse_qsl(parts.query)), uri, ended)


def lines(client: RestClient, source: LogSource, *, follow: bool, tail: int | None) -> Iterator[str]:
    """Yield the lines of a log; of a followed one until the attempt ends.

    Raises:
        CallRefused: The server has no such log, or refuses.
        Unreachable: There is no reply, or it breaks off.
    """
    query = dict(source.query)
    if follow:
        query["follow"] = "1"
    if tail is not None:
        query["tail"] = str(tail)
    with client.stream(source.path, query) as reply:
        kind = reply.headers.get("content-type", "")
        if not kind.startswith("text/plain"):
            # A server without this route may answer with a page of its own.
            raise CallRefused(f"{client.url} has no route for logs; open {source.uri} in a browser", 404)
        rest = b""
        for piece in reply.iter_bytes():
            *whole, rest = (rest + piece).split(b"\n")
            yield from map(_text, whole)
            if len(rest) > LINE_BYTES_MAX:
                yield _text(rest)
                rest = b""
        if rest:
            yield _text(rest)


def cleaned(line: str, *, colours: bool) -> str:
    """Return a line without sequences that control a terminal.

    Args:
        line: The line.
        colours: Whether colours stay.
    """
    # A progress bar prints over its own line: the last state counts.
    line = line.rstrip("\r").rpartition("\r")[2]
    line = _SEQUENCES.sub("", line)
    if not colours:
        return _COLOURS.sub("", line)
    return f"{line}\x1b[0m" if "\x1b[" in line else line


def _text(line: bytes) -> str:
    return line[:LINE_BYTES_MAX].decode("utf-8", "replace")


Printer = Callable[[LogSource, str], Any]
