"""Dynamic nodes by whatever program writes a job spec, without flytekit: what it asks for is run, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flyteidl.admin import task_pb2
from flyteidl.core import dynamic_job_pb2, identifier_pb2, tasks_pb2
from google.protobuf import json_format

from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import DOMAIN, PROJECT, VERSION, Remote


def shell(name: str, command: str) -> tasks_pb2.TaskTemplate:
    """A task without inputs and outputs that runs a line of shell."""
    template = tasks_pb2.TaskTemplate(type="raw-container")
    id = template.id
    id.resource_type, id.project, id.domain = identifier_pb2.TASK, PROJECT, DOMAIN
    id.name, id.version = name, VERSION
    template.metadata.runtime.version = "1"
    template.interface.SetInParent()
    template.container.image = "none"
    template.container.args.extend(["/bin/sh", "-c", command])
    return template


def asking(remote: Remote, name: str, futures: bytes, folder: Path) -> str:
    """Launch a task that leaves a file as its job spec; the execution's name."""
    path = folder / name
    path.write_bytes(futures)
    template = shell(name, f"mkdir -p {{{{.outputPrefix}}}} && cp {path} {{{{.outputPrefix}}}}/futures.pb")
    request = task_pb2.TaskCreateRequest(id=template.id)
    request.spec.template.CopyFrom(template)
    remote.call("POST", "/tasks", json_format.MessageToDict(request, preserving_proto_field_name=True))
    return remote.launch_task(name, {})


def spec_of(*nodes: tuple[str, tasks_pb2.TaskTemplate, tuple[str, ...]]) -> dynamic_job_pb2.DynamicJobSpec:
    """Nodes by id, task and what they wait for; each task comes once for each node, as upstream allows."""
    spec = dynamic_job_pb2.DynamicJobSpec(min_successes=len(nodes))
    for id, task, upstream in nodes:
        node = spec.nodes.add(id=id, upstream_node_ids=upstream)
        node.task_node.reference_id.CopyFrom(task.id)
        spec.tasks.append(task)
    return spec


@pytest.mark.parametrize("kind", DATABASES)
def test_a_job_spec_is_run_or_refused(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    leaf = shell("leaf", f"echo leaf >> {tmp_path / 'lines'}")
    last = shell("last", f"cat {tmp_path / 'lines'} > {tmp_path / 'last'}")
    good = spec_of(("dn0", leaf, ()), ("dn1", leaf, ()), ("dn2", last, ("dn0", "dn1")))
    stray = spec_of(("dn0", leaf, ()))
    del stray.tasks[:]
    cycle = spec_of(("dn0", leaf, ()), ("dn1", leaf, ("dn0", "dn2")), ("dn2", leaf, ("dn1",)))
    bare = spec_of(("dn0", tasks_pb2.TaskTemplate(id=leaf.id, type="python-task"), ()))
    with plane(tmp_path / "home", empty_database(kind)) as (_, remote):
        names = {
            "good": asking(remote, "good", good.SerializeToString(), tmp_path),
            "stray": asking(remote, "stray", stray.SerializeToString(), tmp_path),
            "cycle": asking(remote, "cycle", cycle.SerializeToString(), tmp_path),
            "bare": asking(remote, "bare", bare.SerializeToString(), tmp_path),
            "none": asking(remote, "none", b"", tmp_path),
            "broken": asking(remote, "broken", b"\xff" * 64, tmp_path),
        }
        assert remote.outputs(names["good"]) == {}
        inside = {row["metadata"]["spec_node_id"]: row["phase"] for row in remote.nodes(names["good"], "good").values()}
        assert inside == dict.fromkeys(("start-node", "dn0", "dn1", "dn2", "end-node"), "SUCCEEDED")
        assert (tmp_path / "last").read_text() == "leaf\nleaf\n"
        del names["good"]
        found = {scenario: remote.error(name) for scenario, name in names.items()}
    errors = {scenario: (error["code"], error["message"]) for scenario, error in found.items()}
    build = "DynamicWorkflowBuildFailed"
    assert errors["stray"][0] == errors["cycle"][0] == errors["none"][0] == build
    assert "Referenced Task [resource_type:TASK" in errors["stray"][1]
    assert "A cycle has been detected" in errors["cycle"][1]
    assert "Can't find any nodes in workflow" in errors["none"][1]
    assert errors["bare"] == ("FailedToBuildResource", errors["bare"][1])
    assert "has no container" in errors["bare"][1]
    assert errors["broken"][0] == "RetriesExhausted|OutputsBadFormat"
    assert "is not a serialized DynamicJobSpec" in errors["broken"][1]
