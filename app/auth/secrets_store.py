"""The server's own secrets: environment variables, then files.

Source: flytepropeller's FileEnvSecretManager.Get.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

from app.settings import BadSetting, Settings

BYTES_MAX = 64 * 1024
_HELP = "`flyteadmin secret init` makes every secret"


class SecretNotFound(BadSetting):
    """Neither the environment nor the folder has the secret."""


class SecretsStore:
    """Reads secrets at the start of a process.

    Args:
        settings: The settings; section `secrets` names prefix and folder.
        environ: The environment.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._folder = settings.secrets.secrets_prefix
        self._prefix = settings.secrets.env_prefix
        self._environ = environ

    def text(self, name: str) -> str:
        """Return a secret as it is stored, line breaks at the end included.

        Raises:
            SecretNotFound: There is no such secret.
            BadSetting: The file of the secret cannot be read.
        """
        variable = f"{self._prefix}{name}"
        if (value := self._environ.get(variable)) is not None:
            return value
        path = Path(self._folder) / name
        try:
            with path.open("rb") as file:
                raw = file.read(BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SecretNotFound(f"secrets not found - file [{path}], Env [{variable}]; {_HELP}") from error
        except (OSError, ValueError) as error:
            raise BadSetting(f"secret {name} in file {path} cannot be read: {error}") from error
        if len(raw) > BYTES_MAX:
            raise BadSetting(f"secret {name} in file {path} has more than {BYTES_MAX} bytes")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise BadSetting(f"secret {name} in file {path} is no text in UTF-8") from error

    def key(self, name: str, *, bytes_wanted: int) -> bytes:
        """Return a key that is stored as standard base64 without padding.

        Args:
            name: The name of the secret.
            bytes_wanted: The length of the key, in bytes.

        Raises:
            BadSetting: There is no such secret, or it is no key of this length.
        """
        # Deviates: upstream refuses padding and a line break at the end, which editors and `base64` write.
        text = self.text(name).strip().rstrip("=")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadSetting(f"secret {name} is no standard base64 (characters A-Z a-z 0-9 + /); {_HELP}") from error
        if len(raw) != bytes_wanted:
            problem = f"secret {name} has {len(raw)} bytes after base64 is decoded, wanted {bytes_wanted}"
            raise BadSetting(f"{problem}; {_HELP}")
        return raw

    def client_secret(self, name: str, file: str) -> str:
        """Return the password of this server's client at the identity provider, without the line break at its end.

        Args:
            name: The name of the secret.
            file: The path of a file with the password, which takes precedence; "" for none.

        Raises:
            BadSetting: There is no such secret or file.
        """
        if not file:
            return self.text(name).removesuffix("\n")
        try:
            with Path(file).open("rb") as stream:
                return stream.read(BYTES_MAX).decode().removesuffix("\n")
        except (OSError, ValueError) as error:
            raise BadSetting(f"auth.userAuth.openId.clientSecretFile={file} cannot be read: {error}") from error
