"""Tokens between two commands: in the keyring of the system, else in a file that only its owner may read.

A keyring is used where the package `keyring` is installed and finds one, as flytekit does.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.cli.sign_in.connection import Connection

SERVICE = "flyteadmin"
FILE = "tokens.json"
FILE_BYTES_MAX = 1024 * 1024
# A token is renewed so long before its end.
MARGIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one sign-in.

    Attributes:
        access_token: The bearer token.
        refresh_token: The refresh token; "" without one.
        expires_at: Seconds since 1970; 0 where the server gives no time.
    """

    access_token: str
    refresh_token: str = ""
    expires_at: float = 0.0

    def __repr__(self) -> str:
        return "Tokens(…)"

    @property
    def expired(self) -> bool:
        """Return whether the access token should not be sent any more."""
        return bool(self.expires_at) and time.time() > self.expires_at - MARGIN_SECONDS


def key_of(connection: Connection) -> str:
    """Return the key of a server and a way to sign in."""
    return " ".join(filter(None, (connection.url, connection.kind, connection.client_id)))


def load(home: Path, key: str) -> Tokens | None:
    """Return the tokens of a key; None without any."""
    if (ring := _keyring()) is not None:
        text = ring.get_password(SERVICE, key)
        return _tokens(json.loads(text)) if text else None
    return _tokens(_read(home / FILE).get(key))


def save(home: Path, key: str, tokens: Tokens | None) -> None:
    """Store the tokens of a key, or remove them with None.

    Raises:
        OSError: The file cannot be written.
    """
    if (ring := _keyring()) is not None:
        if tokens is not None:
            ring.set_password(SERVICE, key, json.dumps(asdict(tokens)))
        else:
            with suppress(ring.errors.PasswordDeleteError):
                ring.delete_password(SERVICE, key)
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home / f"{FILE}.lock"):
        known = _read(home / FILE)
        known.pop(key, None)
        if tokens is not None:
            known[key] = asdict(tokens)
        _write(home / FILE, known)


def _keyring() -> Any:
    """Return the module of the keyring; None where there is no keyring."""
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError:
        return None
    return None if isinstance(keyring.get_keyring(), (fail.Keyring, null.Keyring)) else keyring


def _tokens(found: Any) -> Tokens | None:
    if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
        return None
    refresh, expires = found.get("refresh_token"), found.get("expires_at")
    return Tokens(
        found["access_token"],
        refresh if isinstance(refresh, str) else "",
        float(expires) if isinstance(expires, (int, float)) else 0.0,
    )


def _read(file: Path) -> dict[str, Any]:
    """Return the content of the file; nothing for one that is missing or damaged, so that a person signs in anew."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            return {}
        found = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, known: dict[str, Any]) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        # mkstemp gives the mode 0600.
        with os.fdopen(descriptor, "w") as stream:
            json.dump(known, stream)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
