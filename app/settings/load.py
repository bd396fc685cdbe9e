"""Making the settings: layers of flags, environment and files, their keys in any spelling, one validation.

Keys are compared without case, underscores and dashes, so httpPort, http_port, HTTPPORT and HTTP-PORT are one.
Duration keys may lack the unit (maxExpiresIn is max_expires_in_seconds).
"""

import difflib
import os
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from app.settings.secrets import is_secret_name, redact
from app.settings.spelling import camel, plain
from app.settings.tree import Settings
from app.settings.values import DURATION, REQUIREMENTS, BadSetting, requirements, words

SHORT_NAMES = {
    "FLYTEADMIN_HOME": "home",
    "FLYTEADMIN_DATABASE_URL": "database.url",
    "FLYTEADMIN_STORAGE_URL": "storage.url",
    "FLYTEADMIN_ENGINE": "engine.kind",
    "FLYTEADMIN_MCP": "mcp.enabled",
    "FLYTE_API_KEY": "mcp.api_key",
}
LONG_PREFIX = "FLYTEADMIN__"
TEST_PREFIX = "FLYTEADMIN_TEST_"

# A laptop has no task resource limits; who brings a file runs a platform and gets upstream's own defaults.
# Ports, database and storage stay as they are until the file names others: `serve` is known by its port 30080.
PLATFORM_DEFAULTS = {
    "database": {"max_open_connections": 100},
    "storage": {"limits": {"max_download_mbs": 2}},
    "task_resources": {
        "defaults": {"cpu": "2", "memory": "200Mi"},
        "limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"},
    },
}

FLAGS = {
    "server.host": "--host",
    "server.http_port": "--port",
    "server.grpc.port": "--grpc-port",
    "flyteadmin.profiler_port": "--metrics-port",
    "mcp.port": "--mcp-port",
    "mcp.adapter_port": "--rest-adapter-port",
    "server.workers": "--workers",
}
ENVIRONMENT, COMMAND_LINE = "the environment", "the command line"
SHOWN_VALUE_CHARACTERS_MAX = 100

Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and one sentence for each key that nobody knows."""

    settings: Settings
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """One source (a file, the environment, the flags) while its keys are matched to fields."""

    source: str
    warnings: list[str]
    origins: dict[Path_, tuple[str, str]] = field(default_factory=dict)

    def fit(self, annotation: Any, value: Any, path: Path_, spelled: str) -> Any:
        """Return value with field names for keys; note where each leaf came from."""
        kind, arguments = _kind(annotation)
        if kind is BaseModel and isinstance(value, Mapping):
            return self._fit_model(arguments[0], value, path, spelled)
        if kind is dict and isinstance(value, Mapping):
            return {
                str(key): self.fit(arguments[1], _commas(arguments[1], item), (*path, str(key)), f"{spelled}.{key}")
                for key, item in value.items()
                if item is not None
            }
        if kind is tuple:
            if isinstance(value, str):
                value = words(value)
            if isinstance(value, Sequence):
                return [
                    self.fit(arguments[0], item, (*path, str(place)), f"{spelled}[{place}]")
                    for place, item in enumerate(value)
                ]
        self.origins[path] = (self.source, spelled)
        # `disable_ssl: true` in a table of texts means the text, as viper has it.
        return str(value).lower() if annotation is str and isinstance(value, bool) else value

    def _fit_model(self, model: type[BaseModel], value: Mapping[Any, Any], path: Path_, spelled: str) -> dict[str, Any]:
        known = _fields(model)
        fitted: dict[str, Any] = {}
        for key, item in value.items():
            full = f"{spelled}.{key}" if spelled else str(key)
            name = known.get(plain(str(key)))
            if name is None:
                self.warnings.append(_unknown(self.source, full, str(key), model))
            elif item is not None:
                info = model.model_fields[name]
                if REQUIREMENTS in info.metadata and isinstance(item, str):
                    item = requirements(item)
                fitted[name] = _merge(fitted.get(name), self.fit(info.annotation, item, (*path, name), full))
        return fitted


def _commas(annotation: Any, value: Any) -> Any:
    """Return the parts of a text where a table holds lists, such as HTTP headers, whose values may have spaces."""
    if _kind(annotation)[0] is tuple and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def load(
    files: Sequence[Path] = (), flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Loaded:
    """Read files in order (later ones win), then the environment, then flags.

    shape:  flags: dotted field path -> value, e.g. {"server.http_port": 8080}; None values count as not given
    errors: BadSetting for a file that cannot be read or is no YAML mapping, and for a value that is not allowed
    """
    warnings: list[str] = []
    origins: dict[Path_, tuple[str, str]] = {}
    merged: dict[str, Any] = {}

    def add(source: str, values: Mapping[Any, Any]) -> None:
        nonlocal merged
        reading = _Reading(source, warnings)
        merged = _merge(merged, reading.fit(Settings, values, (), ""))
        origins.update(reading.origins)

    if files:
        merged = _merge(merged, PLATFORM_DEFAULTS)
    for file in files:
        add(str(file), _read(file))
    add(ENVIRONMENT, _from_environment(environ, warnings))
    add(COMMAND_LINE, _nested(flags or {}))
    try:
        return Loaded(Settings.model_validate(merged), tuple(warnings))
    except ValidationError as error:
        raise BadSetting("; ".join(_told(problem, origins) for problem in error.errors())) from error


def _read(file: Path) -> Mapping[Any, Any]:
    import yaml

    try:
        with file.open("rb") as stream:
            content = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
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
    # A value that begins with * ! or & is taken for an alias, a tag or an anchor, and quoted in the reason.
    return re.sub(r"'[^\s',<\]}]{3,}'", "'…'", reason)


def _from_environment(environ: Mapping[str, str], warnings: list[str]) -> dict[str, Any]:
    import yaml

    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        upper = name.upper()
        if upper in SHORT_NAMES:
            values = _merge(values, _nested({SHORT_NAMES[upper]: text}))
        elif upper.startswith("FLYTEADMIN_") and not upper.startswith((LONG_PREFIX, TEST_PREFIX)):
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
                # The text itself may hold secrets, so only its fault is shown.
                raise BadSetting(
                    f"environment variable {name} is not a YAML list or mapping: {_reason(error)}"
                ) from error
        values = _merge(values, _nested({name[len(LONG_PREFIX) :].replace("__", "."): value}))
    return values


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}, without what is None."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        for part in reversed(path.split(".")):
            value = value if value is None else {part: value}
        nested = _merge(nested, value or {})
    return nested


def _merge(under: Any, over: Any) -> Any:
    """Mappings merge key by key; anything else is replaced, lists too, as upstream's loader does."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}


def _kind(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Which of model, dict, tuple or plain value an annotation is, and what it is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return BaseModel, (annotation,)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _kind(next(argument for argument in arguments if argument is not type(None)))
    if origin in (dict, tuple):
        return origin, arguments
    return None, ()


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, str]:
    """Every spelling (plain) of the model's keys -> field name."""
    spellings: dict[str, str] = {}
    for name, info in model.model_fields.items():
        spellings[plain(name)] = name
        if DURATION in info.metadata:
            spellings[plain(name.removesuffix("_seconds"))] = name
    return spellings


def _unknown(source: str, full: str, key: str, model: type[BaseModel]) -> str:
    known = _fields(model)
    near = difflib.get_close_matches(plain(key), known, n=1, cutoff=0.6)
    if near:
        name = known[near[0]]
        upstreams = camel(name, duration=DURATION in model.model_fields[name].metadata)
        hint = f"did you mean {_spelled(source, full.removesuffix(key) + upstreams)}?"
    else:
        hint = "it is not used here"
    return f"unknown key {_spelled(source, full)} in {source}; {hint}"


def _spelled(source: str, path: str) -> str:
    """Return a key as its source writes it: the environment has variables, the command line flags."""
    if source == COMMAND_LINE:
        return FLAGS.get(path, path)
    if source != ENVIRONMENT:
        return path
    short = {key: name for name, key in SHORT_NAMES.items()}
    return short.get(path) or LONG_PREFIX + path.replace(".", "__").upper()


def _told(problem: Any, origins: Mapping[Path_, tuple[str, str]]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    source, spelled = origins.get(path, ("the settings", ".".join(path)))
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem["input"]
    shown = isinstance(value, (str, int, float, bool)) and not _holds_secret(path)
    text = f"={redact(repr(value))[:SHOWN_VALUE_CHARACTERS_MAX]}" if shown else ""
    return f"{_spelled(source, spelled)}{text} in {source}: {message[:1].lower()}{message[1:]}"


def _holds_secret(path: Path_) -> bool:
    """Return whether the field or table at a path holds secrets, or the section there has a field that does."""
    annotation: Any = Settings
    for part in path:
        kind, arguments = _kind(annotation)
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
    kind, arguments = _kind(annotation)
    if kind is BaseModel:
        return any(not info.repr or _has_secret(info.annotation) for info in arguments[0].model_fields.values())
    if kind is not None:
        return any(_has_secret(argument) for argument in arguments)
    return annotation is SecretStr
