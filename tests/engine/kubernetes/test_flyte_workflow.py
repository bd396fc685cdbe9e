"""The parts of a FlyteWorkflow object by themselves; tests/kubernetes compares whole objects with upstream's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from flyteidl.core import security_pb2, tasks_pb2, types_pb2

from app.engine.kubernetes.api import ApiError
from app.engine.kubernetes.calls import is_temporary, pause_seconds
from app.engine.kubernetes.flyte_workflow import check_object, shard_key, workflow_label
from app.engine.kubernetes.interfaces import strip_type
from app.engine.kubernetes.task_specs import task_spec
from app.engine.kubernetes.workflow_spec import InvalidWorkflow
from app.services.executions.clusters import choose
from app.services.task_resources import Platform
from app.settings.clusters import Clusters
from app.wire.go.go_struct import to_go_struct
from app.wire.go.quantity import Quantity


@pytest.mark.parametrize(("name", "key"), [("e1", "3"), ("e2", "22")])
def test_shard_keys(name: str, key: str) -> None:
    assert shard_key(name) == key


@pytest.mark.parametrize(
    ("name", "label"),
    [(".flytegen.a.b", "flytegen-a-b"), ("A B//c", "a-b-c"), ("x" * 70, "x" * 63), ("-a-", "a")],
)
def test_workflow_labels(name: str, label: str) -> None:
    assert workflow_label(name) == label


def amounts(**written: str) -> dict[str, Quantity]:
    return {name: Quantity.parse(text) for name, text in written.items()}


def entries(resources: list[dict[str, str]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in resources}


@pytest.mark.parametrize(
    ("requests", "limits", "defaults", "most", "expected_requests", "expected_limits"),
    [
        ({}, {}, {"CPU": "500m", "MEMORY": "1Gi"}, {}, {"CPU": "500m", "MEMORY": "1Gi"}, None),
        ({"CPU": "1"}, {"CPU": "2"}, {}, {}, {"CPU": "1", "MEMORY": "0"}, {"CPU": "2", "MEMORY": "0"}),
        ({}, {"CPU": "2"}, {"CPU": "1"}, {}, {"CPU": "2", "MEMORY": "0"}, None),
        ({"CPU": "4"}, {"CPU": "8"}, {}, {"CPU": "2"}, {"CPU": "2", "MEMORY": "0"}, None),
        ({"GPU": "1"}, {}, {}, {}, {"CPU": "0", "MEMORY": "0", "GPU": "1"}, None),
        ({"CPU": "250m"}, {}, {"CPU": "200m", "MEMORY": "200Gi", "EPHEMERAL_STORAGE": "500Mi", "GPU": "4"}, {},
         {"CPU": "250m", "MEMORY": "200Gi", "EPHEMERAL_STORAGE": "500Mi", "GPU": "4"}, None),
        ({}, {}, {}, {"EPHEMERAL_STORAGE": "1Gi", "GPU": "1"}, {"CPU": "0", "MEMORY": "0"}, None),
    ],
)  # fmt: skip
def test_resources_of_containers(
    requests: Any, limits: Any, defaults: Any, most: Any, expected_requests: Any, expected_limits: Any
) -> None:
    template = tasks_pb2.TaskTemplate()
    template.container.SetInParent()
    for name, value in requests.items():
        template.container.resources.requests.add(name=name, value=value)
    for name, value in limits.items():
        template.container.resources.limits.add(name=name, value=value)
    spec = task_spec(template, Platform(amounts(**defaults), amounts(**most)), "fast")
    container = spec["container"]
    assert entries(container["resources"]["requests"]) == expected_requests
    assert entries(container["resources"]["limits"]) == (expected_limits or expected_requests)
    assert container["config"] == [{"key": "child_queue", "value": "fast"}]


def test_types_lose_their_metadata() -> None:
    kind = types_pb2.LiteralType()
    inner = kind.union_type.variants.add().map_value_type.collection_type
    inner.simple = types_pb2.STRUCT
    inner.metadata["a"] = 1
    inner.structure.tag = "int"
    inner.structure.dataclass_type["x"].annotation.annotations["other"] = 1
    kind.annotation.annotations["cache-key-metadata"] = "x"
    strip_type(kind)
    assert kind.HasField("annotation")
    assert not inner.HasField("metadata")
    assert inner.structure.tag == "int"
    assert not inner.structure.dataclass_type["x"].HasField("annotation")


def test_go_structs_have_names_of_the_proto_file_and_numbers_for_enums() -> None:
    context = security_pb2.SecurityContext()
    context.run_as.SetInParent()
    context.secrets.add(group="g", key="k", mount_requirement=security_pb2.Secret.FILE)
    assert to_go_struct(context) == {"run_as": {}, "secrets": [{"group": "g", "key": "k", "mount_requirement": 2}]}


NODES = {"start-node": {"id": "start-node"}, "n0": {"id": "n0", "task": "t"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {}}, "names a task that the object lacks"),
        ({"nodes": {**NODES, "n0": {"id": "n0", "workflow": {"subWorkflowRef": "w"}}}}, "a workflow that the object"),
        ({"downstream": {"start-node": ["gone"]}}, "name nodes that it lacks"),
        ({"nodes": {**NODES, "n1": {"id": "n1", "array": {"SubNodeSpec": {"id": "s", "task": "u"}}}}}, "names a task"),
    ],
)
def test_an_object_that_would_end_flytepropeller_is_refused(changes: dict[str, Any], message: str) -> None:
    nodes = changes.get("nodes", NODES)
    edges = {"downstream": changes.get("downstream", {"start-node": ["n0"]}), "upstream": {}}
    document = {"spec": {"id": "p:d:w", "nodes": nodes, "edges": edges}, "tasks": changes.get("tasks", {"t": {}})}
    with pytest.raises(InvalidWorkflow, match=message):
        check_object(document)


SECTION = Clusters.model_validate(
    {
        "cluster_configs": [{"name": name, "enabled": name != "c"} for name in "abc"],
        "label_cluster_map": {
            "mostly": [{"id": "a", "weight": 0.1}, {"id": "b", "weight": 0.9}],
            "none": [{"id": "a"}, {"id": "b", "weight": 1}],
            "off": [{"id": "c", "weight": 1}],
        },
    }
)


@pytest.mark.parametrize(
    ("label", "shares"),
    [("mostly", {"a": 0.1, "b": 0.9}), ("none", {"b": 1}), ("off", {"a": 0.5, "b": 0.5}), ("", {"a": 0.5, "b": 0.5})],
)
def test_clusters_are_chosen_by_weight(label: str, shares: dict[str, float]) -> None:
    counts = Counter(choose(SECTION, label, f"execution-{number}") for number in range(1000))
    assert counts.keys() == shares.keys()
    assert all(abs(counts[name] / 1000 - share) < 0.03 for name, share in shares.items())


@pytest.mark.parametrize(
    ("status", "reason", "text", "temporary"),
    [
        (0, "", "EOF", True),
        (401, "Unauthorized", "Unauthorized", True),
        (403, "Forbidden", "cannot create resource", False),
        (403, "Forbidden", "exceeded quota: q", True),
        (403, "Forbidden", "because it is being terminated", True),
        (404, "NotFound", 'namespaces "p-d" not found', True),
        (404, "", "the server could not find the requested resource", False),
        (409, "Conflict", "object is being deleted", True),
        (413, "", "too large", False),
        (422, "Invalid", "is invalid", False),
        (429, "", "later", True),
        (500, "", "etcdserver: request is too large", False),
        (503, "", "away", True),
    ],
)
def test_which_failures_pass(status: int, reason: str, text: str, temporary: bool) -> None:
    assert is_temporary(ApiError(text, status=status, reason=reason), namespaces_follow=True) is temporary


def test_a_namespace_that_is_being_deleted_passes_whatever_the_text() -> None:
    error = ApiError("forbidden", status=403, reason="Forbidden", causes=["NamespaceTerminating"])
    assert is_temporary(error, namespaces_follow=False)


def test_pauses_follow_the_server_and_are_limited() -> None:
    assert pause_seconds(0, ApiError("later", status=429, retry_after=45)) == 45
    assert pause_seconds(0, ApiError("later", status=429, retry_after=1e9)) == 300
    assert 0.25 <= pause_seconds(0, ApiError("later", status=429)) <= 0.5
    assert 15 <= pause_seconds(1_000_000, ApiError("later", status=429)) <= 30
