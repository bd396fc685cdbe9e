"""Find the settings that the code reads, by the attribute chains in its syntax trees.

A field counts as read where the code has `<section>.<field>`, whatever leads to the section:
`settings.server.grpc.port`, or `local.warm` after `local = settings.engine.local`, or `limits.filters_max` where
`limits` is declared as `Limits`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from app.settings import Settings

APP = Path(__file__).parents[2] / "app"
Pair = tuple[str, str]


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_in(argument)


def leaves(
    model: type[BaseModel] = Settings, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """Yield the path of each setting, and the names of its section's class and of that class's bases."""
    for name, info in model.model_fields.items():
        inner = list(sections_in(info.annotation))
        for section in inner:
            yield from leaves(section, (*path, name))
        if not inner:
            yield (*path, name), frozenset(base.__name__ for base in model.__mro__)


def pairs_read(folder: Path = APP) -> set[Pair]:
    """Return (name or class of a section, field) for each attribute that is read below a folder."""
    found: set[Pair] = set()
    for file in folder.rglob("*.py"):
        if "routers" not in file.parts:
            found |= _pairs_of(ast.parse(file.read_text()))
    return found


def _pairs_of(tree: ast.Module) -> set[Pair]:
    others = _other_names(tree)
    found: set[Pair] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            # A section may read its own fields in methods, as Storage.location does.
            found |= {(node.name, attribute) for owner, attribute in _attributes(node) if owner == "self"}
        elif isinstance(node, ast.Attribute):
            found |= {(name, node.attr) for name in _closure(_name(node.value), others)}
    return found


def _attributes(tree: ast.AST) -> Iterator[Pair]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield _name(node.value), node.attr


def _name(node: ast.expr) -> str:
    """Return the last name of an expression that leads to a section: `c` of `a.b.c`, `a.b.c[0]` and `a.b.c.get(x)`."""
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "values"):
        return _name(node.func.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _other_names(tree: ast.Module) -> dict[str, set[str]]:
    """Map the names of variables and parameters to what they stand for: the section's name or its class."""
    others: defaultdict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                lists = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                both = zip(target.elts, node.value.elts, strict=False) if lists else [(target, node.value)]  # type: ignore[attr-defined]
                for one, value in both:
                    others[_name(one)].add(_name(value))
        elif isinstance(node, ast.For | ast.comprehension):
            others[_name(node.target)].add(_name(node.iter))
        elif isinstance(node, ast.arg) and node.annotation is not None:
            others[node.arg].add(_class(node.annotation))
        elif isinstance(node, ast.AnnAssign):
            others[_name(node.target)].add(_class(node.annotation))
    return others


def _class(annotation: ast.expr) -> str:
    return ast.unparse(annotation).strip("\"'").rpartition(".")[2]


def _closure(name: str, others: dict[str, set[str]]) -> set[str]:
    names, new = {name}, {name}
    while new := {other for one in new for other in others.get(one, ()) if other} - names:
        names |= new
    return names


@cache
def unread() -> frozenset[str]:
    """Return the dotted paths of the settings that no code reads."""
    pairs = pairs_read()
    return frozenset(
        ".".join(path)
        for path, classes in leaves()
        if pairs.isdisjoint((name, path[-1]) for name in (path[-2] if len(path) > 1 else "settings", *classes))
    )
