"""Digests equal those that upstream has stored, and those of the JSON that defines them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from app.cache import ByteCache
from app.errors import InvalidArgument
from app.wire.go import digest as digests
from app.wire.go.digest import digest

pytestmark = pytest.mark.heavy

SAMPLE = Path(__file__).parents[2] / "sample"


def rows(table: str) -> list[dict[str, Any]]:
    """The rows of one table of the sample dump: texts, bytes and None."""
    dump = (SAMPLE / "dump.sql").read_text()
    created = re.search(rf"CREATE TABLE public\.{table} \((.*?)\n\);", dump, re.DOTALL)
    assert created is not None
    columns = re.findall(r"^    (\w+) ", created[1], re.MULTILINE)
    found = []
    for line in re.findall(rf"^INSERT INTO public\.{table} VALUES \((.*)\);$", dump, re.MULTILINE):
        values = re.findall(r"'((?:[^']|'')*)'|([^,' ][^,]*)", line)
        assert len(values) == len(columns)
        row = dict(zip(columns, (quoted or bare for quoted, bare in values), strict=True))
        found.append({name: bytes.fromhex(v[2:]) if v.startswith("\\x") else v for name, v in row.items()})
    assert found
    return found


def test_stored_tasks() -> None:
    for row in rows("tasks"):
        closure = task_pb2.TaskClosure.FromString(row["closure"])
        assert digest(closure.compiled_task) == row["digest"], row["name"]


def test_stored_workflows() -> None:
    for row in rows("workflows"):
        blob = SAMPLE / "blobs" / row["remote_closure_identifier"].removeprefix("s3://")
        closure = workflow_pb2.WorkflowClosure.FromString(blob.read_bytes())
        assert digest(closure.compiled_workflow) == row["digest"], row["name"]


def test_stored_launch_plans() -> None:
    for row in rows("launch_plans"):
        plan = launch_plan_pb2.LaunchPlan(spec=launch_plan_pb2.LaunchPlanSpec.FromString(row["spec"]))
        plan.id.resource_type = 3
        plan.id.project, plan.id.domain = row["project"], row["domain"]
        plan.id.name, plan.id.version = row["name"], row["version"]
        plan.closure.MergeFromString(row["closure"])
        assert digest(plan) == row["digest"], row["name"]


def short(message: Message) -> str:
    return base64.urlsafe_b64encode(digest(message)).decode().rstrip("=")


def literals(**values: literals_pb2.Literal) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap(literals=values)


def primitive(**value: object) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**value)))


def variable(kind: types_pb2.LiteralType) -> interface_pb2.Variable:
    return interface_pb2.Variable(type=kind)


INT = types_pb2.LiteralType(simple=types_pb2.INTEGER)
NONE = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (literals(x=primitive(integer=3)), "-AVfAEAm0NEd4FA8EqwJBYAE8mrSI02h36cFEK8vp7U"),
        (literals_pb2.LiteralMap(), "GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ"),
        (interface_pb2.VariableMap(), "GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ"),
        (
            literals(
                f=primitive(float_value=2.0),
                b=primitive(boolean=False),
                s=primitive(string_value=""),
                n=NONE,
            ),
            "BkEj6nu8dKrzuM1fU13e_a8AG9KrtUV-TjFPyE9l52Q",
        ),
    ],
    ids=["an int", "no literals", "no variables", "four kinds"],
)
def test_vectors(message: Message, expected: str) -> None:
    """The keys under which the reference engine caches these inputs."""
    assert short(message) == expected


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [("x", INT, "BgPQX4Pd"), ("o0", INT, "PmK8qF6C"), ("x", types_pb2.LiteralType(collection_type=INT), "12y3_A09")],
)
def test_vectors_of_interfaces(name: str, kind: types_pb2.LiteralType, expected: str) -> None:
    assert short(interface_pb2.VariableMap(variables={name: variable(kind)}))[:8] == expected


def by_definition(message: Message) -> bytes:
    """The digest as it is defined: that of the JSON of the message."""
    return _hashed(json.loads(json_format.MessageToJson(message)))


def _hashed(value: Any) -> bytes:
    match value:
        case None:
            content = b"n"
        case bool():
            content = b"b1" if value else b"b0"
        case int() | float():
            content = b"f" + _normal_form(float(value)).encode()
        case str():
            content = b"u" + value.encode()
        case list():
            content = b"l" + b"".join(map(_hashed, value))
        case _:
            pairs = sorted((_hashed(key), _hashed(inner)) for key, inner in value.items())
            content = b"d" + b"".join(key + inner for key, inner in pairs)
    return hashlib.sha256(content).digest()


def _normal_form(value: float) -> str:
    if value == 0:
        return "+0:"
    sign, value, exponent = "+" if value > 0 else "-", abs(value), 0
    while value > 1:
        value, exponent = value / 2, exponent + 1
    while value <= 0.5:
        value, exponent = value * 2, exponent - 1
    digits = ""
    while value:
        digits += "1" if value >= 1 else "0"
        value = (value - 1 if value >= 1 else value) * 2
    return f"{sign}{exponent}:{digits}"


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PRIMITIVES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda v: primitive(integer=v)),
    NUMBERS.map(lambda v: primitive(float_value=v)),
    st.sampled_from([math.inf, -math.inf, math.nan]).map(lambda v: primitive(float_value=v)),
    st.text(max_size=200).map(lambda v: primitive(string_value=v)),
    st.booleans().map(lambda v: primitive(boolean=v)),
    st.datetimes().map(lambda v: _with_time("datetime", v)),
    st.timedeltas().map(lambda v: _with_time("duration", v)),
    st.binary(max_size=10).map(lambda v: literals_pb2.Literal(scalar={"binary": {"value": v, "tag": "t"}})),
    st.dictionaries(st.text(max_size=3), PLAIN, max_size=3).map(lambda v: _generic(v)),
    st.integers(0, 4).map(lambda v: literals_pb2.Literal(scalar={"schema": {"type": {"columns": [{"type": v}]}}})),
)
LITERALS = st.recursive(
    PRIMITIVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: literals_pb2.Literal(collection={"literals": v}))
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda v: literals_pb2.Literal(map={"literals": v})
        )
    ),
    max_leaves=10,
)


def _with_time(field: str, value: Any) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    getattr(literal.scalar.primitive, field).SetInParent()
    if field == "datetime":
        literal.scalar.primitive.datetime.FromDatetime(value)
    else:
        # Durations of protobuf end at ten thousand years.
        literal.scalar.primitive.duration.FromSeconds(int(value.total_seconds()) % 315_576_000_000)
    return literal


def _generic(value: dict[str, Any]) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.generic.SetInParent()
    literal.scalar.generic.update(value)
    return literal


@given(LITERALS)
def test_it_is_the_digest_of_the_json(literal: literals_pb2.Literal) -> None:
    assert digest(literal) == by_definition(literal)


def test_all_other_kinds_of_fields() -> None:
    plan = launch_plan_pb2.LaunchPlanSpec()
    plan.max_parallelism = -3
    plan.interruptible.value = False
    plan.overwrite_cache = True
    plan.entity_metadata.schedule.rate.value = 4_000_000_000
    plan.entity_metadata.launch_conditions.type_url = "type.googleapis.com/google.protobuf.BoolValue"
    plan.entity_metadata.launch_conditions.value = b"\x08\x01"
    plan.labels.values["b"] = "1"
    plan.labels.values["a"] = "2"
    task = tasks_pb2.TaskTemplate()
    task.metadata.timeout.seconds = 3
    task.container.resources.requests.add(name=99, value="1")
    array = compiler_pb2.CompiledWorkflow()
    array.template.nodes.add().array_node.min_success_ratio = 0.1
    array.template.nodes.add().array_node.min_success_ratio = 1 / 3
    value = struct_pb2.Value(list_value={"values": [{"number_value": -0.0}, {"null_value": 0}]})
    for message in (plan, task, array, value, value.list_value, plan.interruptible):
        assert digest(message) == by_definition(message)


def test_an_absent_message_is_not_an_empty_one() -> None:
    absent, empty = tasks_pb2.TaskTemplate(), tasks_pb2.TaskTemplate()
    empty.metadata.SetInParent()
    assert digest(absent) != digest(empty)


def test_the_order_of_lists_matters() -> None:
    one = tasks_pb2.Container(args=["a", "b"])
    assert digest(one) != digest(tasks_pb2.Container(args=["b", "a"]))


def no_json() -> list[Message]:
    number = struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=math.nan)})
    late = literals_pb2.Primitive()
    late.datetime.seconds = 2**60
    unknown = launch_plan_pb2.LaunchPlanMetadata()
    unknown.launch_conditions.type_url = "type.googleapis.com/nobody.Knows"
    deep = types_pb2.LiteralType()
    inner = deep
    for _ in range(300):
        inner = inner.collection_type
    inner.simple = types_pb2.INTEGER
    return [number, late, unknown, deep]


@pytest.mark.parametrize("message", no_json(), ids=["NaN", "a time out of range", "an unknown type", "too deep"])
def test_what_has_no_json(message: Message) -> None:
    with pytest.raises(InvalidArgument):
        digest(message)


def test_a_task_that_was_met_before_counts_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    closure = compiler_pb2.CompiledWorkflowClosure()
    task = closure.tasks.add()
    task.template.container.args.append("a")
    first = digest(closure)
    assert digest(closure) == first
    task.template.container.args[0] = "b"
    second = digest(closure)
    assert second != first
    monkeypatch.setattr(digests, "_kept", ByteCache(0))
    assert digest(closure) == second
    task.template.container.args[0] = "a"
    assert digest(closure) == first
