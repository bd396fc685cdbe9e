"""The messages about events, field by field as upstream publishes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flyteidl.admin import event_pb2
from flyteidl.event import cloudevents_pb2
from google.protobuf import json_format

from app.background.events_out import envelopes
from app.background.events_out.envelopes import EventFilter
from app.services.phases import Node, Task, Workflow
from tests.services.test_events import node_event, task_event, workflow_event

WORKFLOW_ID = 'project:"p" domain:"development" name:"e1"'
TASK_ID = 'resource_type:TASK project:"p" domain:"development" name:"inc" version:"v1"'


def case(kind: str) -> Any:
    made = {
        "workflow": workflow_event(Workflow.SUCCEEDED, 1, output_uri="s3://b/o"),
        "node": node_event("n0", Node.FAILED, 2),
        "task": task_event("n0", Task.RUNNING, 3, attempt=2, version=1),
    }[kind]
    made.event.occurred_at.nanos = 250_000_000
    return made


CASES = {
    "workflow": {
        "key": "flyteidl.admin.WorkflowExecutionEventRequest",
        "id": f"{WORKFLOW_ID}.SUCCEEDED",
        "time": "2023-11-14T22:13:21.25Z",
        "wrapped": "cloudevents.WorkflowExecution",
        "source": "e1/end-node",
    },
    "node": {
        "key": "flyteidl.admin.NodeExecutionEventRequest",
        "id": f'node_id:"n0" execution_id:{{{WORKFLOW_ID}}}.FAILED',
        "time": "2023-11-14T22:13:22.25Z",
        "wrapped": "cloudevents.NodeExecution",
        "source": "e1/n0",
    },
    "task": {
        "key": "flyteidl.admin.TaskExecutionEventRequest",
        "id": f"{TASK_ID}.RUNNING",
        "time": "2023-11-14T22:13:23.25Z",
        "wrapped": "cloudevents.TaskExecution",
        "source": "e1/n0/2",
    },
}


@pytest.mark.parametrize("kind", CASES)
def test_version_1(kind: str) -> None:
    request, expected = case(kind), CASES[kind]
    document = json.loads(envelopes.cloud_event_v1(kind, request).json())
    data = document.pop("data")
    assert envelopes.key_of(kind) == expected["key"]
    retry = {"retry": 2} if kind == "task" else {}
    assert document == {
        "specversion": "1.0",
        "id": expected["id"],
        "source": "https://github.com/flyteorg/flyte/flyteadmin",
        "type": f"com.flyte.resource.{expected['key']}",
        "datacontenttype": "application/json",
        "time": expected["time"],
        "jsonschemaurl": ("https://github.com/flyteorg/flyteidl/blob/v0.24.14/jsonschema/workflow_execution.json"),
        **retry,
    }
    assert json_format.ParseDict(data, type(request)()) == request
    assert data["event"]["occurredAt"].endswith(".250Z")
    assert "producerId" not in data["event"], "defaults are left out"


@pytest.mark.parametrize("kind", CASES)
def test_version_2(kind: str) -> None:
    request, expected = case(kind), CASES[kind]
    wrapper = getattr(cloudevents_pb2, f"CloudEvent{expected['wrapped'].partition('.')[2]}")(raw_event=request.event)
    document = json.loads(envelopes.cloud_event_v2(kind, request, wrapper).json())
    data = document.pop("data")
    assert envelopes.wrapped_key_of(kind) == expected["wrapped"]
    assert document == {
        "specversion": "1.0",
        "id": expected["id"],
        "source": expected["source"],
        "type": f"com.flyte.resource.{expected['wrapped']}",
        "datacontenttype": "application/json",
        "time": expected["time"],
        "jsonschemaurl": "",
    }
    assert json_format.ParseDict(data, type(wrapper)()) == wrapper
    assert list(data) == ["rawEvent"]


def test_a_phase_without_a_name_is_written_as_number() -> None:
    assert envelopes.event_id("workflow", workflow_event(77, 1).event) == f"{WORKFLOW_ID}.77"


def test_equal_requests_make_equal_bytes() -> None:
    one = task_event("n0", Task.RUNNING, 3)
    for number in range(50):
        one.event.custom_info.fields[f"key {number}"].number_value = number
    two = event_pb2.TaskExecutionEventRequest.FromString(one.SerializeToString())
    first, second = envelopes.cloud_event_v1("task", one), envelopes.cloud_event_v1("task", two)
    assert (first.json(), first.protobuf()) == (second.json(), second.protobuf())


@pytest.mark.parametrize(
    ("types", "kinds", "unknown"),
    [
        ((), set(), ()),
        (("workflow",), {"workflow"}, ()),
        (("node", "task"), {"node", "task"}, ()),
        (("all",), {"workflow", "node", "task"}, ()),
        (("*", "wrong"), {"workflow", "node", "task"}, ()),
        (("wrong", "task", "Workflow"), {"task"}, ("wrong", "Workflow")),
    ],
)
def test_filters(types: tuple[str, ...], kinds: set[str], unknown: tuple[str, ...]) -> None:
    found = EventFilter.of(types)
    assert (found.kinds, found.unknown) == (kinds, unknown)
