"""The audit log: who did what, where, and the outcome. The setting `auth.audit` chooses lines and place.

A line never has a token: values are masked by form, and callers of `record` pass names only. Lines are written with
the logger `audit` whatever the level of the log, or appended to a file, which may be renamed while the server runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog

from app import limited_log
from app.auth.identity import Identity
from app.settings import Masker, Settings, masker_of

log = structlog.get_logger("audit")

Kind = Literal["read", "write", "sign_in", "sign_out", "token", "role"]
DENIED = "denied"
_TEXT_CHARACTERS_MAX = 500
# Looking for a renamed file costs a system call, so it is done at this interval.
_SECONDS_BETWEEN_LOOKS = 1.0


class AuditLog:
    """Writes lines of the audit log. One object per process, which `set_up` makes."""

    def __init__(self, settings: Settings) -> None:
        section = settings.auth.audit
        self.denials = section.level != "off"
        self.writes = section.level in ("writes", "all")
        self.reads = section.level == "all"
        self._masker: Masker = masker_of(settings)
        self._file = _File(os.path.expanduser(section.file)) if section.file and self.denials else None
        if self.denials:
            logging.getLogger("audit").setLevel(logging.INFO)

    def wants(self, kind: Kind, outcome: str) -> bool:
        """Return whether lines of this kind and outcome are written."""
        return self.denials and (outcome == DENIED or (self.reads if kind == "read" else self.writes))

    def write(self, fields: dict[str, Any]) -> None:
        """Write one line."""
        line = {name: self._shown(value) for name, value in fields.items() if value not in ("", None)}
        if self._file is None or not self._file.append(line):
            log.info("audit", **line)

    def _shown(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self._masker.value(value)
        # JSON has no lone surrogates, which stand for bytes of a request that are not UTF-8.
        return self._masker.text(value[:_TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode())


class _File:
    """Appends lines of JSON to a file that only its owner can read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._looked_at = 0.0

    def append(self, line: dict[str, Any]) -> bool:
        """Write a line in one piece, so that lines of several processes do not mix; return whether it was written."""
        try:
            raw = orjson.dumps({"time": datetime.now(UTC), **line}, default=str) + b"\n"
            self._open()
            return os.write(self._descriptor, raw) == len(raw)
        except (OSError, TypeError) as error:
            limited_log.error("audit_file_unwritable", file=self._path, reason=str(error))
            return False

    def _open(self) -> None:
        now = time.monotonic()
        if self._descriptor >= 0 and now - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked_at = now
        if self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                    return
            os.close(self._descriptor)
            self._descriptor = -1
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


_current: AuditLog | None = None


def set_up(settings: Settings) -> AuditLog | None:
    """Use the settings for all further lines of this process; return the log, None where it is off."""
    global _current
    _current = AuditLog(settings) if settings.auth.audit.level != "off" else None
    return _current


def record(
    kind: Kind, what: str, *, who: Identity | str | None = None, where: str = "", outcome: str = "ok", **more: Any
) -> None:
    """Write a line about what somebody did; nothing where `auth.audit` leaves this kind out.

    Args:
        kind: `read`, `write`, `sign_in`, `sign_out`, `token` or `role`.
        what: The RPC or the event, such as client_credentials.
        who: The caller, or a name where there is no identity yet.
        where: The project and domain, or the client.
        outcome: `ok`, `denied`, or the name of an error.
        more: Further names and reasons; never a token, code, secret or cookie.
    """
    if _current is None or not _current.wants(kind, outcome):
        return
    _current.write({"kind": kind, "what": what, **_names(who), "where": where, "outcome": outcome, **more})


def _names(who: Identity | str | None) -> dict[str, Any]:
    if not isinstance(who, Identity):
        return {"who": who or "anonymous"}
    names = {
        "who": who.subject or who.client_id or who.method,
        "client": who.client_id,
        "email": who.user.email,
        "method": who.method,
    }
    if who.task is not None:
        names["task_of"] = f"{who.task.project}/{who.task.domain}/{who.task.execution}"
    return names
