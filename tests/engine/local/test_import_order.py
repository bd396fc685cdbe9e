"""Modules of the local engine import each other in one direction only."""

from __future__ import annotations

from tests.test_tidy import modules_imported

LOCAL = "app.engine.local"
# From the bottom to the top.
ROOMS = ("processes", "connectors", "host", "graph", "nodes", "")


def rank(module: str) -> int:
    """The place of a module's room in the order; the modules beside the rooms are the top."""
    room = module.removeprefix(LOCAL).lstrip(".").partition(".")[0]
    return ROOMS.index(room if room in ROOMS else "")


def test_no_module_imports_a_higher_room() -> None:
    upward = [
        (module, imported)
        for module, others in modules_imported().items()
        for imported in others
        if module.startswith(LOCAL) and imported.startswith(f"{LOCAL}.") and rank(imported) > rank(module)
    ]
    assert upward == []
