"""The settings without their secrets, and a masker for the secrets that they hold.

Both start from one walk over the tree (`_marked`), so that each text that `masked` hides is known to the masker.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from app.settings.database import Postgres
from app.settings.secrets import MASK, Masker, environment_secrets, is_harmless, is_secret_name, secrets_in_address
from app.settings.tree import Settings

_DATABASES = ("postgresql://", "postgres://", "postgresql+psycopg://", "sqlite://")


def masked(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the whole tree as plain data without secrets; for /config and `flyteadmin config show`."""
    masker = masker_of(settings, environ)
    shown: dict[str, Any] = _without_secrets(_marked(settings), masker)
    return shown


def masker_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Masker:
    """Return a masker that replaces every secret of the settings and of the environment."""
    # Defaults, such as upstream's password "postgres", are no secrets.
    public = {*_secrets_in(_marked(Settings())), *_secrets_in(_marked(Postgres()))}
    own = {*_secrets_in(_marked(settings)), *_password_of_file(settings), *environment_secrets(environ)}
    return Masker(own - public)


def _marked(value: Any, key: str = "", *, hidden: bool = False) -> Any:
    """Return a value as plain data in which each text that may be a secret is a SecretStr.

    Args:
        value: A section or its content.
        key: The key of an entry of a table whose keys are free: `storage.stow.config`, variables of tasks, headers.
        hidden: Whether the field is declared with `repr=False`: each text in it is a secret, unless its key or form is
            that of a harmless value.
    """
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: _marked(getattr(value, name), hidden=not fields[name].repr) for name in fields}
    if isinstance(value, Mapping):
        return {
            str(name): _marked(item, str(name), hidden=hidden or is_secret_name(str(name)))
            for name, item in value.items()
        }
    if isinstance(value, (tuple, list)):
        return [_marked(item, key, hidden=hidden) for item in value]
    if isinstance(value, str):
        return SecretStr(value) if hidden and not is_harmless(key, value) else value
    return value if isinstance(value, (int, float, SecretStr, type(None))) else str(value)


def _without_secrets(marked: Any, masker: Masker) -> Any:
    if isinstance(marked, SecretStr):
        text = marked.get_secret_value()
        # The address of a database is worth showing without its password.
        return masker.text(text) if text.startswith(_DATABASES) else MASK if text else ""
    if isinstance(marked, dict):
        return {masker.text(key): _without_secrets(item, masker) for key, item in marked.items()}
    if isinstance(marked, list):
        return [_without_secrets(item, masker) for item in marked]
    return masker.text(marked) if isinstance(marked, str) else marked


def _secrets_in(marked: Any) -> Iterator[str]:
    """Yield each secret of marked data; passwords in the addresses of other texts and keys are secrets too."""
    if isinstance(marked, SecretStr):
        text = marked.get_secret_value()
        yield from secrets_in_address(text)
        if not text.startswith(_DATABASES):
            yield text
            yield from _secrets_in_json(text)
    elif isinstance(marked, dict):
        for key, item in marked.items():
            yield from secrets_in_address(key)
            yield from _secrets_in(item)
    elif isinstance(marked, list):
        for item in marked:
            yield from _secrets_in(item)
    elif isinstance(marked, str):
        yield from secrets_in_address(marked)


def _secrets_in_json(text: str) -> Iterator[str]:
    """Yield the secrets in the key of a service account, which is a JSON object in one text."""
    if not text.lstrip().startswith("{"):
        return
    try:
        content = json.loads(text)
    except ValueError:
        return
    if isinstance(content, dict):
        yield from (item for key, item in content.items() if isinstance(item, str) and is_secret_name(key))


def _password_of_file(settings: Settings) -> Iterator[str]:
    """Yield the password in database.postgres.passwordPath, if the file is readable; `database_url` reports errors."""
    postgres = settings.database.postgres
    file = Path(postgres.password_path) if postgres is not None and postgres.password_path else None
    if file is not None and os.access(file, os.R_OK) and file.is_file():
        yield file.read_text(errors="replace").strip()
