"""Synchronizes executions as FlyteRemote does, with all their nodes: synced.py <config.yaml> <execution>…

Prints what it found as JSON: for each execution its phase, its outputs, and the phases of all nodes by unique id.
"""

import json
import sys
from typing import Any

from flytekit.configuration import Config
from flytekit.models.core.execution import NodeExecutionPhase, WorkflowExecutionPhase
from flytekit.remote import FlyteRemote

remote = FlyteRemote(Config.auto(sys.argv[1]), "flytesnacks", "development")


def phases(nodes: dict[str, Any]) -> dict[str, str]:
    found = {}
    for execution in nodes.values():
        found[execution.id.node_id] = NodeExecutionPhase.enum_to_string(execution.closure.phase)
        found |= phases(execution.subworkflow_node_executions or {})
    return found


result = {}
for name in sys.argv[2:]:
    execution = remote.sync(remote.fetch_execution(name=name), sync_nodes=True)
    phase = WorkflowExecutionPhase.enum_to_string(execution.closure.phase)
    outputs = {key: execution.outputs.get(key) for key in execution.outputs} if phase == "SUCCEEDED" else None
    result[name] = {"phase": phase, "outputs": outputs, "nodes": phases(execution.node_executions)}
sys.stdout.write(json.dumps(result) + "\n")
