"""The reference of all settings in Markdown, for `flyteadmin config docs` and docs/settings.md.

It is made of the docstrings below the fields. They are read from the source when they are asked for: pydantic's
`use_attribute_docstrings` would read them at import, which costs each process 0.1 s of CPU.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from app.settings.keys import FLAGS, LONG_PREFIX, SHORT_NAMES, kind_of, upstream_key
from app.settings.spelling import plain
from app.settings.support import without_effect
from app.settings.tree import Settings
from app.settings.values import DURATION

INTRODUCTION = f"""\
# Settings

A setting can be given in a YAML file (`flyteadmin --config FILE`), in the environment or, where a flag is named, on the
command line. The command line wins over the environment, the environment over files, later files over earlier ones.

- Keys are upstream's, in any case, with or without `_` and `-`: `httpPort`, `http_port` and `http-port` are one.
- In the environment, `server.httpPort` is `{LONG_PREFIX}SERVER__HTTPPORT`. Lists are written with commas or spaces, or
  as YAML.
- A duration is written as `90s`, `30m` or `1h30m`; a number without a unit means seconds.
- `flyteadmin config show` prints the values that are in use.
"""


@dataclass(frozen=True, slots=True)
class Documented:
    """A section or a field with its text.

    Attributes:
        key: The keys that lead to it, as upstream's files write them; `<name>` and `[]` stand for an entry.
        text: The docstring, in one line.
        default: The default as YAML; None for a section.
        notes: Short name in the environment, flag, and the reason of a field that has no effect.
    """

    key: str
    text: str
    default: str | None = None
    notes: tuple[str, ...] = ()


def documented(model: type[BaseModel] = Settings, path: str = "", key: str = "") -> Iterator[Documented]:
    """Yield the fields of a section, then the sections in it, each followed by its own fields."""
    texts = field_docstrings(model)
    sections = []
    for name, info in model.model_fields.items():
        inner, entry = _section_in(info.annotation)
        own_path, own_key = f"{path}.{name}".lstrip("."), f"{key}.{upstream_key(model, name)}".lstrip(".")
        if inner is not None:
            sections.append((inner, own_path, f"{own_key}{entry}", _entries(info.default)))
            continue
        default = info.get_default(call_default_factory=True) if not info.is_required() else None
        shown = "required" if info.is_required() else _yaml(default, duration=DURATION in info.metadata)
        yield Documented(own_key, texts[name], shown, tuple(_notes(own_path, info.annotation)))
    for inner, own_path, own_key, entries in sections:
        yield Documented(own_key, f"{' '.join((inner.__doc__ or '').split())}{entries}")
        yield from documented(inner, own_path, own_key)


def markdown(prefix: str = "") -> str:
    """Return the reference.

    Args:
        prefix: The key of a section or a field, in any spelling, to which the reference is limited; "" for all.
    """
    wanted = plain(prefix)
    lines = [] if wanted else [INTRODUCTION]
    for one in documented():
        if wanted and not re.match(rf"{re.escape(wanted)}(?=[.\[]|$)", plain(one.key)):
            continue
        if one.default is None:
            lines += [f"\n{'##' if '.' not in one.key else '###'} {one.key}\n", one.text, ""]
        else:
            lines.append(f"- `{one.key}` ({one.default}): {' '.join((one.text, *one.notes))}")
    return "\n".join(lines).strip() + "\n" if lines else ""


@cache
def field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring below each field of a section, its own and inherited ones, in one line."""
    found: dict[str, str] = {}
    for base in model.__bases__:
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= field_docstrings(base)
    declaration = next(
        node
        for node in ast.parse(Path(inspect.getfile(model)).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == model.__name__
    )
    for field, following in zip(declaration.body, declaration.body[1:], strict=False):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(following.value.value).split())  # type: ignore[attr-defined]
    return found


def _section_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the section of a field, or of each entry of its table or list, and the text that stands for the entry."""
    kind, arguments = kind_of(annotation)
    if kind is BaseModel:
        return arguments[0], ""
    if kind is None:
        return None, ""
    inner, entry = _section_in(arguments[-1] if kind is dict else arguments[0])
    return inner, f"{'.<name>' if kind is dict else '[]'}{entry}"


def _entries(default: Any) -> str:
    """Return a sentence with the names of the entries that a table or list of sections has by default."""
    names = list(default) if isinstance(default, Mapping) else []
    if isinstance(default, tuple):
        names = [getattr(one, "id", "") for one in default]
    return f" Default entries: {', '.join(f'`{name}`' for name in names)}." if names else ""


def _notes(path: str, annotation: Any) -> Iterator[str]:
    choices = [str(choice) for choice in get_args(annotation) if choice] if get_origin(annotation) is Literal else []
    if choices:
        yield f"Allowed: {', '.join(f'`{choice}`' for choice in choices)}."
    short = next((name for name, target in SHORT_NAMES.items() if target == path), "")
    if short:
        yield f"In the environment also `{short}`."
    if path in FLAGS:
        yield f"Flag `{FLAGS[path]}`."
    if reason := without_effect(path):
        yield f"**No effect**: {reason}."


def _yaml(value: Any, *, duration: bool = False) -> str:
    """Return a default as a file would write it, in backticks; sizes with their MiB."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (tuple, list)):
        text = f"[{', '.join(map(str, value))}]"
    elif duration:
        text = _duration(value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value) or '""'
    mib = value // 1024**2 if isinstance(value, int) and value and value % 1024**2 == 0 else 0
    return f"`{text}`, {mib} MiB" if mib else f"`{text}`"


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def wrapped(text: str, width: int) -> str:
    """Return Markdown of `markdown` with its lines wrapped for a terminal; entries of lists are indented."""
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  " if line.startswith("- ") else "", break_on_hyphens=False)
        if line.startswith("- ") or len(line) > width
        else line
        for line in text.split("\n")
    )
