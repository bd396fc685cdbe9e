"""The secrets of tasks in the home folder, encrypted with a key beside them.

task-secrets/key            the key, readable for its owner alone
task-secrets/secrets.json   encrypted values by name; names are not encrypted
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.settings import BadSetting, Settings

VALUE_BYTES_MAX = 1024 * 1024
_FILE_BYTES_MAX = 64 * 1024 * 1024
_FOLDER, _KEY, _VALUES = "task-secrets", "key", "secrets.json"


@dataclass(frozen=True, slots=True, order=True)
class SecretName:
    """The name of a secret. Upper and lower case are equal, as flytekit reads secrets.

    Attributes:
        group: The group, "" for none.
        version: The group version, "" for none.
        key: The key, "" for none.
    """

    group: str
    version: str
    key: str

    @classmethod
    def of(cls, group: str, version: str, key: str) -> SecretName:
        """Return the name in lower case."""
        return cls(group.lower(), version.lower(), key.lower())

    @property
    def path(self) -> str:
        """Return the name as one text: group/version/key without empty parts."""
        return "/".join(part for part in (self.group, self.version, self.key) if part)


class SecretStore:
    """Reads and writes the encrypted secrets.

    Args:
        settings: The settings, with the home folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.home_path / _FOLDER

    def get(self, name: SecretName) -> bytes | None:
        """Return a secret; None if it is not set.

        Raises:
            BadSetting: The files cannot be read, or the key is not that of the values.
        """
        if not (self._folder / _VALUES).exists():
            return None
        token = self._read().get(_text(name))
        return None if token is None else self._decrypt(name, token)

    def names(self) -> list[SecretName]:
        """Return the names of all secrets."""
        return sorted(SecretName(*json.loads(text)) for text in self._read())

    def set(self, name: SecretName, value: bytes) -> None:
        """Store a secret over an earlier value.

        Raises:
            BadSetting: The value is too large, or the files cannot be read.
        """
        from cryptography.fernet import Fernet

        if len(value) > VALUE_BYTES_MAX:
            raise BadSetting(f"a secret has at most {VALUE_BYTES_MAX} bytes")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            values = self._read()
            values[_text(name)] = Fernet(self._key(create=not values)).encrypt(value).decode()
            self._write(values)

    def delete(self, name: SecretName) -> bool:
        """Delete a secret; return False if it is not set."""
        if not self._folder.exists():
            return False
        with self._locked():
            values = self._read()
            if values.pop(_text(name), None) is None:
                return False
            self._write(values)
        return True

    def _decrypt(self, name: SecretName, token: str) -> bytes:
        from cryptography.fernet import Fernet, InvalidToken

        try:
            return Fernet(self._key(create=False)).decrypt(token)
        except InvalidToken as error:
            raise BadSetting(
                f"secret {name.path} in {self._folder} was encrypted with another key than {self._folder / _KEY}; "
                f"set it again: flyteadmin secret set {name.path}"
            ) from error

    def _key(self, *, create: bool) -> bytes:
        from cryptography.fernet import Fernet

        path = self._folder / _KEY
        if create and not path.exists():
            _write_private(path, Fernet.generate_key())
        try:
            key = path.read_bytes().strip()
            Fernet(key)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no key"
            raise BadSetting(
                f"the key of the secrets, {path}, cannot be used: {reason}; restore it, or remove "
                f"{self._folder} and set the secrets again"
            ) from error
        return key

    def _read(self) -> dict[str, str]:
        path = self._folder / _VALUES
        try:
            with path.open("rb") as file:
                found: dict[str, str] = json.loads(file.read(_FILE_BYTES_MAX))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise BadSetting(f"the secrets in {path} cannot be read: {reason}") from error
        return found

    def _write(self, values: dict[str, str]) -> None:
        _write_private(self._folder / _VALUES, json.dumps(values, indent=1).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Keyring:
    """Reads secrets from the system's keyring by the library `keyring`, where that is installed (extra `keyring`).

    Args:
        service: The service under which the keyring has the secrets, each with its name as the user; "" for none.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._installed = bool(service) and importlib.util.find_spec("keyring") is not None

    def get(self, name: SecretName) -> bytes | None:
        """Return a secret; None if it is not there.

        Raises:
            BadSetting: The keyring is locked, or refuses.
        """
        if not self._installed:
            return None
        import keyring
        import keyring.errors

        try:
            value = keyring.get_password(self._service, name.path)
        except keyring.errors.NoKeyringError:
            # A machine without a desktop has no keyring.
            return None
        except keyring.errors.KeyringError as error:
            raise BadSetting(f"the system's keyring cannot be read: {error}") from error
        return None if value is None else value.encode()


def _text(name: SecretName) -> str:
    return json.dumps([name.group, name.version, name.key])


def _write_private(path: Path, content: bytes) -> None:
    """Write a file whole, readable for its owner alone from the first moment."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
