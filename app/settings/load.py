"""Make the settings: read files, the environment and flags, merge these layers, validate the result once.

pydantic-settings is not used (docs/decisions/0015-own-settings-loader.md): its sources know neither upstream's
spellings of keys nor the place where a refused value was written.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from app.settings import support
from app.settings.keys import (
    COMMAND_LINE,
    ENVIRONMENT,
    LONG_PREFIX,
    SHORT_NAMES,
    FieldPath,
    KeyMatcher,
    Origin,
    kind_of,
    merged,
    written_in,
)
from app.settings.secrets import is_secret_name, redact
from app.settings.tree import Settings
from app.settings.values import BadSetting
from app.system import PORTABLE

TEST_PREFIX = "FLYTEADMIN_TEST_"
SHOWN_VALUE_CHARACTERS_MAX = 100

# A laptop has no task resource limits; a configuration file means a platform, which gets upstream's own defaults.
# Ports, database and storage keep their defaults until the file sets them: `serve` is known by its port 30080.
PLATFORM_DEFAULTS = {
    "database": {"max_open_connections": 100},
    "storage": {"limits": {"max_download_mbs": 2}},
    "task_resources": {
        "defaults": {"cpu": "2", "memory": "200Mi"},
        "limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"},
    },
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and sentences about keys that are unknown or have no effect."""

    settings: Settings
    warnings: tuple[str, ...]


def load(
    files: Sequence[Path] = (), flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Loaded:
    """Read files in order (later ones win), then the environment, then flags.

    Args:
        files: Configuration files in YAML.
        flags: Values by dotted field path, as {"server.http_port": 8080}; None counts as not given.
        environ: The environment variables.

    Raises:
        BadSetting: A file cannot be read or is no YAML mapping, or a value is not allowed.
    """
    warnings: list[str] = []
    origins: dict[FieldPath, Origin] = {}
    values: dict[str, Any] = dict(PLATFORM_DEFAULTS) if files else {}
    layers = [(str(file), _read(file)) for file in files]
    layers += [(ENVIRONMENT, _from_environment(environ, warnings)), (COMMAND_LINE, _nested(flags or {}))]
    for source, layer in layers:
        matcher = KeyMatcher(source, warnings)
        values = merged(values, matcher.fit(Settings, layer))
        origins.update(matcher.origins)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise BadSetting("; ".join(_refusal(problem, origins) for problem in error.errors())) from error
    return Loaded(settings, (*warnings, *support.warnings(settings, origins)))


def _read(file: Path) -> Mapping[Any, Any]:
    import yaml

    try:
        with file.open("rb") as stream:
            content = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # nosec # the safe loader in C
    except OSError as error:
        raise BadSetting(f"configuration file {file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadSetting(f"configuration file {file} is not YAML{place}: {_reason(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise BadSetting(f"configuration file {file} must hold sections such as `server:`, not a bare value or list")
    return content


def _reason(error: Exception) -> str:
    reason = str(getattr(error, "problem", None) or error).splitlines()[0]
    # YAML reads a value that begins with * ! or & as an alias, a tag or an anchor, and quotes it in the reason.
    return re.sub(r"'[^\s',<\]}]{3,}'", "'…'", reason)


def _from_environment(environ: Mapping[str, str], warnings: list[str]) -> dict[str, Any]:
    import yaml

    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        upper = name.upper()
        if upper in SHORT_NAMES:
            values = merged(values, _nested({SHORT_NAMES[upper]: text}))
        elif upper.startswith("FLYTEADMIN_") and upper != PORTABLE and not upper.startswith((LONG_PREFIX, TEST_PREFIX)):
            near = difflib.get_close_matches(upper, SHORT_NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"write settings as {LONG_PREFIX}<SECTION>__<KEY>"
            warnings.append(f"environment variable {name} is unknown; {hint}")
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(LONG_PREFIX):
            continue
        value: Any = text
        if text.lstrip().startswith(("[", "{")):
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                # The text itself may hold secrets, so the message holds the reason alone.
                raise BadSetting(
                    f"environment variable {name} is not a YAML list or mapping: {_reason(error)}"
                ) from error
        values = merged(values, _nested({name[len(LONG_PREFIX) :].replace("__", "."): value}))
    return values


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"a": {"b": 1}} for {"a.b": 1}, without values that are None."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        for part in reversed(path.split(".")):
            value = value if value is None else {part: value}
        nested = merged(nested, value or {})
    return nested


def _refusal(problem: Any, origins: Mapping[FieldPath, Origin]) -> str:
    """Return one error of pydantic as a sentence with the key, the value unless it may be a secret, and the source."""
    path = tuple(str(part) for part in problem["loc"])
    source, key = origins.get(path, Origin("the settings", ".".join(path)))
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem["input"]
    shown = isinstance(value, (str, int, float, bool)) and not _holds_secret(path)
    text = f"={redact(repr(value))[:SHOWN_VALUE_CHARACTERS_MAX]}" if shown else ""
    return f"{written_in(source, key)}{text} in {source}: {message[:1].lower()}{message[1:]}"


def _holds_secret(path: FieldPath) -> bool:
    """Return whether the field or table at a path holds secrets, or the section there has a field that does."""
    annotation: Any = Settings
    for part in path:
        kind, arguments = kind_of(annotation)
        if kind is BaseModel:
            info = arguments[0].model_fields.get(part)
            if info is None or not info.repr or is_secret_name(part):
                return True
            annotation = info.annotation
        elif kind is dict and is_secret_name(part):
            return True
        elif kind is not None:
            annotation = arguments[-1] if kind is dict else arguments[0]
    return _has_secret(annotation)


def _has_secret(annotation: Any) -> bool:
    kind, arguments = kind_of(annotation)
    if kind is BaseModel:
        return any(not info.repr or _has_secret(info.annotation) for info in arguments[0].model_fields.values())
    if kind is not None:
        return any(_has_secret(argument) for argument in arguments)
    return annotation is SecretStr
