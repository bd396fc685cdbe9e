"""Compute the names of upstream's Swagger definitions from the types of flyteidl.

A name depends on every type of flyteidl: upstream runs the generator over all files at once.
Source: protoc-gen-openapiv2 v2.19.1, naming strategy "legacy".
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from functools import cache
from typing import Any

import flyteidl
from google.rpc import status_pb2


def definition_name(message: Any) -> str:
    """Return upstream's name of a message or enumeration.

    The name is the shortest end of the dotted name that no other type has, and one part more, without dots:
    `adminProject`, `SortDirection`, but `flyteidladminNodeExecution` where other packages have a NodeExecution.
    """
    parts = message.full_name.split(".")
    ends = _ends()
    depth = next((n for n in range(1, len(parts)) if ends[tuple(parts[-n:])] == 1), len(parts) - 1)
    return "".join(parts[-depth - 1 :])


@cache
def _ends() -> Counter[tuple[str, ...]]:
    """Count how many types have each end of a dotted name."""
    files: dict[str, Any] = {}
    for module in pkgutil.walk_packages(flyteidl.__path__, "flyteidl."):
        if module.name.endswith("_pb2"):
            _add(importlib.import_module(module.name).DESCRIPTOR, files)
    _add(status_pb2.DESCRIPTOR, files)
    ends: Counter[tuple[str, ...]] = Counter()
    for file in files.values():
        for one in (*file.message_types_by_name.values(), *file.enum_types_by_name.values()):
            _count(one, ends)
    return ends


def _add(file: Any, files: dict[str, Any]) -> None:
    if file.name not in files:
        files[file.name] = file
        for needed in file.dependencies:
            _add(needed, files)


def _count(one: Any, ends: Counter[tuple[str, ...]]) -> None:
    parts = one.full_name.split(".")
    ends.update(tuple(parts[-n:]) for n in range(1, len(parts)))
    for inner in (*getattr(one, "nested_types", ()), *getattr(one, "enum_types", ())):
        _count(inner, ends)
