"""The cases of a module: launched with FlyteRemote, or compared with what flytekit makes of them by itself.

cases.py <config.yaml> launch <module>            prints {case: name of its execution}
cases.py <config.yaml> compare <module> <that>    prints {case: [phases, outputs, outputs of a local run]}
"""

import dataclasses
import enum
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from flytekit.configuration import Config
from flytekit.models.core.execution import NodeExecutionPhase
from flytekit.remote import FlyteRemote
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


def plain(value: Any) -> Any:
    """A value that two runs have in common: what files and tables hold, not where they lie."""
    if isinstance(value, FlyteFile):
        return Path(value.download()).read_text()
    if isinstance(value, FlyteDirectory):
        root = Path(value.download())
        return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}
    if dataclasses.is_dataclass(value):
        return [type(value).__name__, plain({one.name: getattr(value, one.name) for one in dataclasses.fields(value)})]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "to_dict"):
        return plain(value.to_dict(orient="list"))
    return value if value is None or isinstance(value, int | float | str) else repr(value)


def local(entity: Any, inputs: dict[str, Any]) -> Any:
    """The outputs by name."""
    got = entity(**inputs)
    names = list(entity.python_interface.outputs)
    return {names[0]: plain(got)} if len(names) == 1 else dict(zip(names, map(plain, got or ()), strict=True))


def seen(remote: FlyteRemote, entity: Any, name: str) -> Any:
    """The phases of all nodes, and the outputs by name as a client with the workflow's own types reads them."""
    execution = remote.sync(remote.fetch_execution(name=name), sync_nodes=True)
    types = entity.python_interface.outputs
    outputs = {key: plain(execution.outputs.get(key, as_type=kind)) for key, kind in types.items()}
    return phases(execution.node_executions), outputs


def phases(nodes: dict[str, Any]) -> dict[str, str]:
    found = {}
    for execution in nodes.values():
        found[execution.id.node_id] = NodeExecutionPhase.enum_to_string(execution.closure.phase)
        found |= phases(execution.subworkflow_node_executions or {})
    return found


config, verb, module, *rest = sys.argv[1:]
flyte = FlyteRemote(Config.auto(config), "flytesnacks", "development")
cases = importlib.import_module(module).CASES
# Shell tasks leave their files where they are run.
os.chdir(tempfile.mkdtemp())
if verb == "launch":
    result: Any = {}
    for case, (entity, inputs) in cases.items():
        result[case] = flyte.execute(entity, inputs=inputs, version="v1").id.name
else:
    result = {}
    for case, name in json.loads(rest[0]).items():
        entity, inputs = cases[case]
        result[case] = [*seen(flyte, entity, name), local(entity, inputs)]
sys.stdout.write(json.dumps(result) + "\n")
