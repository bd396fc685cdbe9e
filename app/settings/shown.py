"""The settings as they may be shown, and the secrets that they hold."""

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
    return {name: _shown(getattr(settings, name), masker) for name in type(settings).model_fields}


def masker_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Masker:
    """Return a masker that knows every secret of the settings and of the environment."""
    # What stands in the tree by itself, such as upstream's password "postgres", is no secret.
    public = {*_secrets(Settings()), *_secrets(Postgres())}
    own = {*_secrets(settings), *_password_of_file(settings), *environment_secrets(environ)}
    return Masker(own - public)


def _shown(value: Any, masker: Masker, *, hidden: bool = False) -> Any:
    """Return value as plain data.

    Args:
        value: A section, or what one holds.
        masker: Masks each text.
        hidden: Whether the field is declared with `repr=False`: each text of it is a secret unless its key tells
            otherwise.
    """
    if isinstance(value, SecretStr):
        return _address_or_mask(value.get_secret_value(), masker)
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: _shown(getattr(value, name), masker, hidden=not fields[name].repr) for name in fields}
    if isinstance(value, Mapping):
        return {masker.value(key): _entry(str(key), item, masker, hidden) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shown(item, masker, hidden=hidden) for item in value]
    if isinstance(value, str):
        return MASK if hidden and not is_harmless("", value) else masker.text(value)
    return value if isinstance(value, (int, float, bool, type(None))) else masker.text(str(value))


def _entry(key: str, item: Any, masker: Masker, hidden: bool) -> Any:
    """Return an entry of a table whose keys are free: `storage.stow.config`, variables of tasks, headers."""
    secret = is_secret_name(key)
    if isinstance(item, (tuple, list)) and (secret or hidden):
        return [_entry(key, one, masker, hidden) for one in item]
    if isinstance(item, str):
        kept = is_harmless(key, item) if hidden or secret else True
        return masker.text(item) if kept else MASK
    return _shown(item, masker, hidden=hidden)


def _address_or_mask(text: str, masker: Masker) -> str:
    """Return the address of a database without its secrets; any other secret as a mask."""
    if text.startswith(_DATABASES):
        return masker.text(text)
    return MASK if text else ""


def _secrets(value: Any, name: str = "", *, hidden: bool = False) -> Iterator[str]:
    """Yield every text of a value that `_shown` hides."""
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        yield from secrets_in_address(text)
        if not text.startswith(_DATABASES):
            yield text
    elif isinstance(value, BaseModel):
        for field, info in type(value).model_fields.items():
            yield from _secrets(getattr(value, field), hidden=not info.repr)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in_address(str(key))
            yield from _secrets(item, str(key), hidden=hidden or is_secret_name(str(key)))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _secrets(item, name, hidden=hidden)
    elif isinstance(value, str):
        if hidden and not is_harmless(name, value):
            yield value
            yield from _inside_json(value)
        yield from secrets_in_address(value)


def _inside_json(text: str) -> Iterator[str]:
    """Yield the secrets of a service account's key, which is a JSON object in one text."""
    if not text.lstrip().startswith("{"):
        return
    try:
        content = json.loads(text)
    except ValueError:
        return
    if isinstance(content, dict):
        yield from (item for key, item in content.items() if isinstance(item, str) and is_secret_name(key))


def _password_of_file(settings: Settings) -> Iterator[str]:
    """Yield the password in database.postgres.passwordPath, if it can be read: who needs it reports if it cannot."""
    postgres = settings.database.postgres
    file = Path(postgres.password_path) if postgres is not None and postgres.password_path else None
    if file is not None and os.access(file, os.R_OK) and file.is_file():
        yield file.read_text(errors="replace").strip()
