"""The settings as they may be shown: on /config, by `flyteadmin config show`, in the log."""

import re
from typing import Any

from pydantic import BaseModel, SecretStr

from app.settings.tree import Settings

MASK = "********"
_secret_key = re.compile(r"secret|password|passwd|token|access_?key|credential|private", re.IGNORECASE)
_url_password = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")


def masked(settings: Settings) -> dict[str, Any]:
    """The whole tree as plain data, with passwords, tokens and keys replaced by asterisks."""
    shown = _shown(settings)
    assert isinstance(shown, dict)
    return shown


def _shown(value: Any, *, hide: bool = False) -> Any:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        if "://" in text:
            return _url_password.sub(rf"\1:{MASK}@", text)
        return MASK if text else ""
    if isinstance(value, BaseModel):
        return {name: _shown(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        # Only free-form tables (stow.config) carry secrets in plain text; typed secrets are SecretStr.
        return {key: _shown(item, hide=bool(_secret_key.search(key))) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shown(item) for item in value]
    if hide and isinstance(value, str) and value:
        return MASK
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
