"""Keys of settings: match them to fields in any spelling, and write them as their source does.

Keys are compared without case, underscores and dashes, so httpPort, http_port, HTTPPORT and HTTP-PORT are one.
The key of a duration may lack the unit: maxExpiresIn is the field max_expires_in_seconds.
"""

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from app.settings.spelling import camel, plain
from app.settings.values import DURATION, REQUIREMENTS, requirements, words

# Short names in the environment, and the fields that they set.
SHORT_NAMES = {
    "FLYTEADMIN_HOME": "home",
    "FLYTEADMIN_DATABASE_URL": "database.url",
    "FLYTEADMIN_STORAGE_URL": "storage.url",
    "FLYTEADMIN_ENGINE": "engine.kind",
    "FLYTEADMIN_MCP": "mcp.enabled",
    "FLYTE_API_KEY": "mcp.api_key",
}
LONG_PREFIX = "FLYTEADMIN__"

# Fields that a flag of `flyteadmin serve` sets.
FLAGS = {
    "server.host": "--host",
    "server.http_port": "--port",
    "server.grpc.port": "--grpc-port",
    "flyteadmin.profiler_port": "--metrics-port",
    "mcp.port": "--mcp-port",
    "mcp.adapter_port": "--rest-adapter-port",
    "server.workers": "--workers",
    "server.security.ssl.local_authority": "--tls",
}
ENVIRONMENT, COMMAND_LINE = "the environment", "the command line"

# The names of the sections and of the field below the root; entries of tables and lists by their key or index.
FieldPath = tuple[str, ...]


class Origin(NamedTuple):
    """The place of a value: a file, ENVIRONMENT or COMMAND_LINE, and the key as written there, joined by dots."""

    source: str
    key: str


@dataclass(slots=True)
class KeyMatcher:
    """Replaces the keys of one source by field names.

    Attributes:
        source: The file, ENVIRONMENT or COMMAND_LINE.
        warnings: Receives one sentence for each unknown key.
        origins: Receives the origin of each value.
    """

    source: str
    warnings: list[str]
    origins: dict[FieldPath, Origin] = field(default_factory=dict)

    def fit(self, annotation: Any, value: Any, path: FieldPath = (), key: str = "") -> Any:
        """Return a value with field names for keys, and texts in place of lists split.

        Args:
            annotation: The type of the field at `path`.
            value: The value in the source.
            path: The names of the fields that lead to the value.
            key: The keys that lead to the value, as written in the source.
        """
        kind, arguments = kind_of(annotation)
        if kind is BaseModel and isinstance(value, Mapping):
            return self._fit_section(arguments[0], value, path, key)
        if kind is dict and isinstance(value, Mapping):
            return {
                str(name): self.fit(arguments[1], _split(arguments[1], item), (*path, str(name)), f"{key}.{name}")
                for name, item in value.items()
                if item is not None
            }
        if kind is tuple:
            if isinstance(value, str):
                value = words(value)
            if isinstance(value, Sequence):
                return [
                    self.fit(arguments[0], item, (*path, str(index)), f"{key}[{index}]")
                    for index, item in enumerate(value)
                ]
        self.origins[path] = Origin(self.source, key)
        # `disable_ssl: true` in a table of texts means the text "true", as for upstream's library viper.
        return str(value).lower() if annotation is str and isinstance(value, bool) else value

    def _fit_section(
        self, model: type[BaseModel], value: Mapping[Any, Any], path: FieldPath, prefix: str
    ) -> dict[str, Any]:
        names = _names_by_spelling(model)
        fitted: dict[str, Any] = {}
        for written, item in value.items():
            key = f"{prefix}.{written}" if prefix else str(written)
            name = names.get(plain(str(written)))
            if name is None:
                self.warnings.append(_unknown(self.source, key, str(written), model))
            elif item is not None:
                info = model.model_fields[name]
                if REQUIREMENTS in info.metadata and isinstance(item, str):
                    item = requirements(item)
                fitted[name] = merged(fitted.get(name), self.fit(info.annotation, item, (*path, name), key))
        return fitted


def merged(under: Any, over: Any) -> Any:
    """Return two layers as one: tables merge key by key; any other value is replaced, lists too, as upstream does."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}


def kind_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return BaseModel, dict, tuple or None (a plain value) for a type, and the types that it contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return BaseModel, (annotation,)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return kind_of(next(argument for argument in arguments if argument is not type(None)))
    if origin in (dict, tuple):
        return origin, arguments
    return None, ()


def written_in(source: str, key: str) -> str:
    """Return a key as its source writes it: the environment has variables, the command line has flags."""
    if source == COMMAND_LINE:
        return FLAGS.get(key, key)
    if source != ENVIRONMENT:
        return key
    short = {path: name for name, path in SHORT_NAMES.items()}
    return short.get(key) or LONG_PREFIX + key.replace(".", "__").upper()


def upstream_key(model: type[BaseModel], name: str) -> str:
    """Return upstream's spelling of a field of a section."""
    return camel(name, duration=DURATION in model.model_fields[name].metadata)


@cache
def _names_by_spelling(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the field for each key of a section; the keys are in the form of `plain`."""
    names: dict[str, str] = {}
    for name, info in model.model_fields.items():
        names[plain(name)] = name
        if DURATION in info.metadata:
            names[plain(name.removesuffix("_seconds"))] = name
    return names


def _split(annotation: Any, value: Any) -> Any:
    """Return the parts of a text where a table holds lists, such as HTTP headers, whose values may have spaces."""
    if kind_of(annotation)[0] is tuple and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _unknown(source: str, key: str, last: str, model: type[BaseModel]) -> str:
    names = _names_by_spelling(model)
    near = difflib.get_close_matches(plain(last), names, n=1, cutoff=0.6)
    if near:
        meant = key.removesuffix(last) + upstream_key(model, names[near[0]])
        hint = f"did you mean {written_in(source, meant)}?"
    else:
        hint = "it is not used here"
    return f"unknown key {written_in(source, key)} in {source}; {hint}"
