"""Plain values and literals, results within their bounds: without a server."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import msgpack
import orjson
import pytest
from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from structlog.testing import capture_logs

from app.compiler.casting import castable
from app.compiler.inference import type_of
from app.compiler.literals import check_literals
from app.errors import InvalidArgument, ResourceExhausted
from app.mcp import plain_json, results
from app.mcp.arguments import to_request
from app.mcp.composite_tools import DataAnswer
from app.mcp.tool_server import ToolServer
from app.runtime.rows import Rpc
from app.settings import Settings
from app.settings.mcp import Mcp
from app.wire import msgpack_values

SIMPLE = types_pb2.SimpleType
RUN = {"project": "p", "domain": "d", "name": "n"}


def simple(kind: int) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(simple=kind)  # type: ignore[arg-type]


OPTIONAL = types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[simple(SIMPLE.INTEGER), simple(SIMPLE.NONE)]))
COLOURS = types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=["red", "green"]))
FILE = types_pb2.LiteralType(blob=types_pb2.BlobType(format="csv"))
TABLE = types_pb2.LiteralType(structured_dataset_type=types_pb2.StructuredDatasetType())
INTEGERS = types_pb2.LiteralType(collection_type=simple(SIMPLE.INTEGER))
BY_NAME = types_pb2.LiteralType(map_value_type=INTEGERS)

FITTING: list[tuple[types_pb2.LiteralType, Any, Any, str]] = [
    (simple(SIMPLE.INTEGER), 3, 3, "integer"),
    (simple(SIMPLE.INTEGER), 3.0, 3, "integer"),
    (simple(SIMPLE.INTEGER), -(2**63), -(2**63), "integer"),
    (simple(SIMPLE.FLOAT), 3, 3, "number"),
    (simple(SIMPLE.FLOAT), 0.5, 0.5, "number"),
    (simple(SIMPLE.STRING), "\u0000ü😀", "\u0000ü😀", "text"),
    (simple(SIMPLE.BOOLEAN), True, True, "true or false"),
    (simple(SIMPLE.DATETIME), "2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z", "time (2026-01-31T12:00:00Z)"),
    (simple(SIMPLE.DURATION), "90s", "90s", "duration in seconds (90s)"),
    (simple(SIMPLE.DURATION), 90, "90s", "duration in seconds (90s)"),
    (simple(SIMPLE.NONE), None, None, "none"),
    (simple(SIMPLE.STRUCT), {"a": [1, None, {"b": 2.5}]}, {"a": [1, None, {"b": 2.5}]}, "object"),
    (OPTIONAL, None, None, "integer or none"),
    (OPTIONAL, 4, 4, "integer or none"),
    (COLOURS, "red", "red", "one of red, green"),
    (FILE, "s3://b/k.csv", {"uri": "s3://b/k.csv"}, "file (uri, csv)"),
    (FILE, {"uri": "s3://b/k.csv"}, {"uri": "s3://b/k.csv"}, "file (uri, csv)"),
    (TABLE, "s3://b/t", {"uri": "s3://b/t"}, "table (uri)"),
    (BY_NAME, {"a": [1, 2], "b": []}, {"a": [1, 2], "b": []}, "object with values of list of integer"),
]


@pytest.mark.parametrize(("type", "given", "shown", "words"), FITTING)
def test_what_fits_becomes_a_literal_of_the_type_and_comes_back(
    type: types_pb2.LiteralType, given: Any, shown: Any, words: str
) -> None:
    literal = plain_json.to_literal(type, given, "values.x")
    found = type_of(literal)
    assert found is not None
    assert castable(found, type)
    check_literals({"x": literal}, "inputs")
    assert plain_json.plain_value(literal) == shown
    assert plain_json.describe_type(type) == words


@pytest.mark.parametrize(
    ("type", "given", "message"),
    [
        (simple(SIMPLE.INTEGER), "3", "values.x: a whole number is wanted, not '3'"),
        (simple(SIMPLE.INTEGER), True, "values.x: a whole number is wanted"),
        (simple(SIMPLE.INTEGER), 2**63, "values.x: a number of 64 bits is wanted"),
        (simple(SIMPLE.INTEGER), float("inf"), "values.x: a whole number is wanted"),
        (simple(SIMPLE.BOOLEAN), 1, "values.x: true or false is wanted"),
        (simple(SIMPLE.STRING), None, "values.x: a text is wanted"),
        (simple(SIMPLE.DATETIME), "tomorrow", "values.x: a time such as"),
        (simple(SIMPLE.DURATION), "1h", "values.x: a duration such as"),
        (simple(SIMPLE.NONE), 0, "values.x: null is wanted"),
        (simple(SIMPLE.STRUCT), 1, "values.x: an object is wanted"),
        (simple(SIMPLE.BINARY), "AA==", "values.x: values of this type are given as literals"),
        (OPTIONAL, "x", "values.x: integer or none is wanted"),
        (COLOURS, "blue", "values.x: one of red, green is wanted"),
        (COLOURS, ["red"], "values.x: one of red, green is wanted"),
        (FILE, 3, "values.x: a uri is wanted"),
        (INTEGERS, {"a": 1}, "values.x: a list is wanted"),
        (BY_NAME, {"a": [1, "b"]}, "values.x['a'][1]: a whole number is wanted"),
    ],
)
def test_what_does_not_fit_is_named(type: types_pb2.LiteralType, given: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        plain_json.to_literal(type, given, "values.x")
    assert refused.value.message.startswith(message)


def test_broken_messagepack_and_bytes_are_told_by_their_size() -> None:
    for tag in ("msgpack", ""):
        literal = literals_pb2.Literal()
        literal.scalar.binary.value, literal.scalar.binary.tag = b"\xc1\x00\xff", tag
        assert plain_json.plain_value(literal) == {"bytes": 3, "tag": tag}


@pytest.mark.parametrize(
    "packed",
    [b"\x81\x91\x01\x02", b"\x81\x80\x02", b"\x91" * 500 + b"\x01", b"\x91" * 100_000 + b"\x01"],
    ids=("list as key", "dict as key", "deep", "bottomless"),
)
def test_messagepack_that_json_cannot_have_is_told_by_its_size(packed: bytes) -> None:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value, literal.scalar.binary.tag = packed, "msgpack"
    assert plain_json.plain_value(literal) == {"bytes": len(packed), "tag": "msgpack"}


def test_messagepack_is_shown_as_deep_as_anybody_writes_it() -> None:
    literal = literals_pb2.Literal()
    deep: Any = 1
    for _ in range(msgpack_values.DEPTH_MAX):
        deep = {"a": deep}
    literal.scalar.binary.value, literal.scalar.binary.tag = msgpack.packb(deep), "msgpack"
    assert plain_json.plain_value(literal) == deep
    for _ in range(45):
        # As deep as a message can be, and everything on the way out must bear it.
        literal = literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=[literal]))
    answer = DataAnswer(inputs=plain_json.plain_values({"x": literal}), outputs={}).model_dump(mode="json")
    assert orjson.loads(orjson.dumps(answer)) == answer


def test_what_json_does_not_have_is_text() -> None:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value = msgpack.packb({1: [float("nan"), float("inf"), 2.5, b"\x00"]})
    literal.scalar.binary.tag = "msgpack"
    assert plain_json.plain_value(literal) == {"1": ["nan", "inf", 2.5, "b'\\x00'"]}
    literal.scalar.primitive.float_value = float("nan")
    assert plain_json.plain_value(literal) == "NaN"


def test_only_what_is_unset_is_left_out() -> None:
    response = execution_pb2.WorkflowExecutionGetDataResponse()
    literal = response.full_outputs.literals["x"]
    json_format.ParseDict({"a": None, "b": [], "c": {}}, literal.scalar.generic)
    response.full_outputs.literals["n"].scalar.none_type.SetInParent()
    assert results.to_json(response) == {
        "full_outputs": {
            "literals": {
                "n": {"hash": "", "scalar": {"none_type": {}}},
                "x": {"hash": "", "scalar": {"generic": {"a": None, "b": [], "c": {}}}},
            }
        }
    }


def test_results_are_cut_where_they_are_largest_and_say_so() -> None:
    small = {"a": "x" * 100}
    assert results.truncate(small, 1_000) == (small, "")
    cut, note = results.truncate({"log": "x" * 50_000, "phase": "FAILED"}, 10_000)
    assert cut == {"log": "x" * 8_000, "phase": "FAILED"}
    assert note == "Truncated from 50027 bytes: log shows 8000 of 50000 characters."
    cut, note = results.truncate({"rows": [{"n": number} for number in range(5_000)]}, 5_000)
    assert cut["rows"] == [{"n": number} for number in range(200)]
    assert note.endswith("rows shows 200 of 5000 entries.")
    deep: Any = "y" * 3_000
    for _ in range(10):
        deep = [deep, deep]
    wide = {"token": "t", "map": {str(number): "z" * 60 for number in range(5_000)}, "deep": deep}
    cut, note = results.truncate(wide, 5_000)
    assert len(orjson.dumps(cut)) <= 5_000
    # Fields stay, even where nearly nothing is left of what they hold.
    assert cut["token"] == "t"
    assert len(cut["map"]) == 25
    assert "map shows 25 of 5000 entries" in note
    with pytest.raises(ResourceExhausted, match="cannot be cut to 100"):
        results.truncate(wide, 100)


@pytest.mark.slow
def test_cutting_costs_what_is_left_and_not_what_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def dumps(value: Any) -> bytes:
        text = orjson.dumps(value)
        written.append(len(text))
        return text

    monkeypatch.setattr(results, "orjson", SimpleNamespace(dumps=dumps))
    rows = [{"name": f"row-{number}", "text": "x" * 1_000, "tags": ["a", "b"] * 20} for number in range(20_000)]
    cut, note = results.truncate({"rows": rows}, 10_000)
    assert note.startswith(f"Truncated from {written[0]} bytes: rows shows 20 of 20000 entries")
    assert 1_000 < len(orjson.dumps(cut)) <= 10_000
    assert sum(written[1:]) < 100_000
    # What is kept is measured to the byte.
    exact = len(orjson.dumps(cut))
    assert results.truncate({"rows": rows}, exact)[0] == cut
    assert results.truncate({"rows": rows}, exact - 1)[0] != cut


class Large:
    """A caller whose answers are as large as it is told."""

    web = ""

    def __init__(self, bytes: int) -> None:
        self._bytes = bytes

    def of_request(self, request: Any) -> Large:
        return self

    async def call(self, rpc: Rpc, request: Message) -> Message:
        made = rpc.response()
        match made:
            case execution_pb2.Execution():
                made.closure.abort_cause = "x" * self._bytes
            case execution_pb2.ExecutionList():
                made.executions.add().closure.abort_cause = "x" * self._bytes
            case execution_pb2.WorkflowExecutionGetDataResponse():
                made.full_outputs.literals["o0"].scalar.primitive.string_value = "x" * self._bytes
        return made

    async def read_log_end(self, id: Any, bytes_max: int) -> None:
        return None


@pytest.mark.parametrize(
    ("tool", "id"),
    [
        ("retrieve-workflow-execution", RUN),
        ("list-workflow-executions", {"project": "p", "domain": "d"}),
        ("retrieve-execution-data", RUN),
    ],
)
def test_large_answers_are_made_beside_the_loop(tool: str, id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[str] = []

    def noted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def spied(*given: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                here.append(name)
            return real(*given)

        monkeypatch.setattr(module, name, spied)

    for module, name in (
        (results, "to_json"),
        (results, "truncate"),
        (results, "json_size"),
        (plain_json, "plain_values"),
    ):
        noted(module, name)
    result = asyncio.run(ToolServer(Large(1_000_000), Settings()).call(tool, {"id": id}))
    assert not result.is_error
    assert "Truncated from 1000" in result.content[1].text  # type: ignore[union-attr]
    assert here == []


class Late(Large):
    """A caller who fails as slow things do, after seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def call(self, rpc: Rpc, request: Message) -> Message:
        await asyncio.sleep(self._seconds)
        raise TimeoutError("of something inside")


@pytest.mark.parametrize(("seconds", "code", "events"), [(0.0, 13, ["mcp_call_failed"]), (30.0, 4, [])])
def test_only_the_time_of_the_call_itself_makes_it_late(seconds: float, code: int, events: list[str]) -> None:
    limits = Settings(mcp=Mcp(call_seconds_max=0.1))
    with capture_logs() as logged:
        result = asyncio.run(ToolServer(Late(seconds), limits).call("retrieve-workflow-execution", {"id": RUN}))
    assert result.structured_content is not None
    assert result.structured_content["code"] == code
    assert [one["event"] for one in logged] == events


def test_numbers_that_json_or_the_field_does_not_have() -> None:
    for limit, message in (
        (10**30, "limit: a whole number from 0 on is wanted, not 1000000000000000000000000000000"),
        (float("inf"), "the arguments are no JSON: Out of range float values"),
        (float("nan"), "the arguments are no JSON: Out of range float values"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            to_request(common_pb2.ResourceListRequest, {"limit": limit})
        assert refused.value.message.startswith(message)


@pytest.mark.heavy
def test_refused_arguments_of_any_size_are_refused_quickly() -> None:
    deep: Any = {"scalar": {"primitive": {"integer": "no number"}}}
    for _ in range(25):
        deep = {"collection": {"literals": [deep] * 2 if _ < 10 else [deep]}}
    began = time.process_time()
    for inputs in (deep, {"map": {"literals": {str(number): {"hash": 1} for number in range(50_000)}}}):
        with pytest.raises(InvalidArgument):
            to_request(execution_pb2.ExecutionCreateRequest, {"inputs": {"literals": {"x": inputs}}})
    assert time.process_time() - began < 2
