"""JSON and binary in: what is taken, and the exact words for what is not (checked against Go's protojson)."""

import gc
import json
import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import orjson
import pytest
from flyteidl.admin import execution_pb2, project_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2, types_pb2, workflow_pb2
from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.internal import encoder
from google.protobuf.message import Message
from google.rpc import status_pb2

from app import errors
from app.wire import decode, protojson, render
from app.wire.go.gojson import JsonError, first_value, has_more_values
from app.wire.render import to_json
from tests.wire.messages import filled, reachable

IDENTIFIER = identifier_pb2.Identifier


def read(type_: type[Message], body: str | bytes, *, strict: bool = True) -> Any:
    return decode.from_json(type_, body.encode() if isinstance(body, str) else body, strict=strict)


def refusal(type_: type[Message], body: str | bytes, *, strict: bool = True) -> str:
    with pytest.raises(errors.InvalidArgument) as caught:
        read(type_, body, strict=strict)
    return caught.value.message


def exactly(type_: type[Message], body: bytes) -> Message:
    """The slow reader alone."""
    message = type_()
    protojson.decode(message, body, strict=True)
    return message


@pytest.mark.parametrize("descriptor", reachable(), ids=lambda descriptor: descriptor.full_name)
def test_what_is_printed_can_be_read(descriptor: Descriptor) -> None:
    for seed in range(4):
        message: Any = filled(descriptor, random.Random(seed))
        for camel in (False, True):
            body = to_json(message, camel=camel)
            pretty = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
            expected = type(message).FromString(message.SerializeToString()).SerializeToString(deterministic=True)
            for one in (body, pretty):
                again = read(type(message), one)
                assert again.SerializeToString(deterministic=True) == expected
                assert exactly(type(message), one).SerializeToString(deterministic=True) == expected


def test_usual_bodies_take_the_quick_way() -> None:
    for descriptor in reachable():
        if descriptor.full_name.startswith(("google.protobuf.", "google.rpc.")):
            continue
        for seed in range(3):
            message: Any = filled(descriptor, random.Random(seed))
            body = to_json(message, camel=bool(seed))
            # Numbers that JSON has no words for, and Any, are left to the exact reader.
            if not any(word in body for word in (b"NaN", b"Infinity", b"e+", b"null", b"@type")):
                assert decode._read_simple(type(message), body, True) is not None, body


@pytest.mark.parametrize("body", ["", " \n\t", "{}", " {} ", '{"name":null}', "{}x", "{}{", '{"name":""} trailing'])
def test_empty(body: str) -> None:
    assert read(IDENTIFIER, body) == IDENTIFIER()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"resourceType":"TASK"}', IDENTIFIER(resource_type=1)),
        ('{"resource_type":2}', IDENTIFIER(resource_type=2)),
        ('{"resource_type":2.0e0}', IDENTIFIER(resource_type=2)),
        ('{"resource_type":99}', IDENTIFIER(resource_type=99)),
        ('{"na\\u006de":"\\ud83d\\ude00\\n\\/"}', IDENTIFIER(name="😀\n/")),
        ('{"name" : "a" , "org"\n:"b"}', IDENTIFIER(name="a", org="b")),
        ('{"name":"\\u0022:"}', IDENTIFIER(name='":')),
        ('{"name":"x"}{"name":"y"}', IDENTIFIER(name="x")),
    ],
)
def test_identifiers(body: str, expected: Message) -> None:
    assert read(IDENTIFIER, body) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5),
        ('"5"', 5),
        ("5.0", 5),
        ("50e-1", 5),
        ('"5.0"', 5),
        ('"0.5e1"', 5),
        ('"5 6"', 5),
        ("-0", 0),
        ('"-0"', 0),
        ('"9223372036854775807"', 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_whole_numbers(value: str, number: int) -> None:
    assert read(literals_pb2.Primitive, f'{{"integer":{value}}}').integer == number


@pytest.mark.parametrize(
    "value",
    ["5.5", '"9223372036854775808"', "1e999999", '"007"', '" 5"', '"x"', '""', "true", "{", "[1]", '"0x5"', "1e30"],
)
def test_what_is_no_whole_number(value: str) -> None:
    shown = {"{": "{", "[1]": "["}.get(value, value)
    body = '{"integer":{}}' if value == "{" else f'{{"integer":{value}}}'
    expected = f"proto: (line 1:12): invalid value for int64 field integer: {shown}"
    assert refusal(literals_pb2.Primitive, body) == expected


@pytest.mark.parametrize(
    ("type_", "body", "expected"),
    [
        (literals_pb2.Primitive, '{"floatValue":"Infinity"}', literals_pb2.Primitive(float_value=float("inf"))),
        (literals_pb2.Primitive, '{"floatValue":"1e3"}', literals_pb2.Primitive(float_value=1000)),
        (literals_pb2.Primitive, '{"floatValue":18446744073709551616}', literals_pb2.Primitive(float_value=2**64)),
        (literals_pb2.Primitive, '{"boolean":false}', literals_pb2.Primitive(boolean=False)),
        (literals_pb2.Primitive, '{"datetime":"2021-03-04T10:00:05.120Z"}', None),
        (workflow_pb2.ArrayNode, '{"minSuccessRatio":0.1}', workflow_pb2.ArrayNode(min_success_ratio=0.1)),
        (workflow_pb2.ArrayNode, '{"minSuccessRatio":"0.5"}', workflow_pb2.ArrayNode(min_success_ratio=0.5)),
        (literals_pb2.Binary, '{"value":"_-8"}', literals_pb2.Binary(value=b"\xff\xef")),
        (execution_pb2.ExecutionSpec, '{"interruptible":true}', None),
        (execution_pb2.ExecutionSpec, '{"interruptible":null}', execution_pb2.ExecutionSpec()),
        (duration_pb2.Duration, '"-1.5s"', duration_pb2.Duration(seconds=-1, nanos=-500_000_000)),
        (timestamp_pb2.Timestamp, '"1970-01-01T00:00:01Z"', timestamp_pb2.Timestamp(seconds=1)),
        (wrappers_pb2.Int64Value, '"7"', wrappers_pb2.Int64Value(value=7)),
        (field_mask_pb2.FieldMask, '"aB.c,d"', field_mask_pb2.FieldMask(paths=["a_b.c", "d"])),
        (struct_pb2.Value, "null", struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)),
        (struct_pb2.ListValue, "[1,[],{}]", None),
        (any_pb2.Any, "{}", any_pb2.Any()),
        (
            any_pb2.Any,
            '{"name":"n","@type":"x/flyteidl.core.Identifier"}',
            any_pb2.Any(type_url="x/flyteidl.core.Identifier", value=IDENTIFIER(name="n").SerializeToString()),
        ),
        (
            any_pb2.Any,
            '{"@type":"x/google.protobuf.Duration","value":"2s"}',
            any_pb2.Any(type_url="x/google.protobuf.Duration", value=b"\x08\x02"),
        ),
    ],
)
def test_single_values(type_: type[Message], body: str, expected: Message | None) -> None:
    message = read(type_, body)
    if expected is None:
        assert json.loads(to_json(message, camel=True)).items() >= json.loads(body).items() if body[0] == "{" else True
        assert message.ByteSize() > 0
    else:
        assert message == expected


STRUCT = '{"template":{"custom":%s}}'


@pytest.mark.parametrize(
    ("type_", "body", "message"),
    [
        (IDENTIFIER, "[]", "proto: syntax error (line 1:1): unexpected token ["),
        (IDENTIFIER, "null", "proto: syntax error (line 1:1): unexpected token null"),
        (IDENTIFIER, '  \n {"foo":1}', 'proto: (line 1:2): unknown field "foo"'),
        (IDENTIFIER, '{\n  "é":1}', 'proto: (line 2:3): unknown field "é"'),
        (IDENTIFIER, '{"name":"é", "foo":1}', 'proto: (line 1:14): unknown field "foo"'),
        (IDENTIFIER, '{"f\\u006fo":1}', 'proto: (line 1:2): unknown field "f\\u006fo"'),
        (IDENTIFIER, '{"name":7}', "proto: (line 1:9): invalid value for string field name: 7"),
        (IDENTIFIER, '{"resource_type":"X"}', 'proto: (line 1:18): invalid value for enum field resourceType: "X"'),
        (IDENTIFIER, '{"resource_type":1.5}', "proto: (line 1:18): invalid value for enum field resourceType: 1.5"),
        (IDENTIFIER, '{"name":"a","name":"b"}', 'proto: (line 1:13): duplicate field "name"'),
        (IDENTIFIER, '{"name" :"a","name":"b"}', 'proto: (line 1:14): duplicate field "name"'),
        (IDENTIFIER, '{"name":null,"name":"\\u0022:"}', 'proto: (line 1:14): duplicate field "name"'),
        (IDENTIFIER, '{"name":null,"name":"\\"\\u003a"}', 'proto: (line 1:14): duplicate field "name"'),
        (IDENTIFIER, '{"name" :null,"name":"\\"\\u0020:"}', 'proto: (line 1:15): duplicate field "name"'),
        (IDENTIFIER, '{"resource_type":1,"resourceType":1}', 'proto: (line 1:20): duplicate field "resourceType"'),
        (IDENTIFIER, b'{"name":"\xff"}', "proto: syntax error (line 1:9): invalid UTF-8 in string"),
        (
            IDENTIFIER,
            '{"name":"\\ud83d xyz"}',
            'proto: syntax error (line 1:9): invalid escape code " xyz\\"}" in string',
        ),
        (IDENTIFIER, '{"name":"\\udc00abcdefg"}', None),
        (
            literals_pb2.Primitive,
            '{"integer":1,"boolean":true}',
            'proto: (line 1:14): error parsing "boolean", oneof flyteidl.core.Primitive.value is already set',
        ),
        (
            literals_pb2.Primitive,
            '{"datetime":"noon"}',
            'proto: (line 1:13): invalid google.protobuf.Timestamp value "noon"',
        ),
        (
            literals_pb2.Primitive,
            '{"datetime":"9999-12-31T23:59:59-01:00"}',
            'proto: (line 1:13): google.protobuf.Timestamp value out of range: "9999-12-31T23:59:59-01:00"',
        ),
        (literals_pb2.Primitive, '{"datetime":5}', "proto: syntax error (line 1:13): unexpected token 5"),
        (
            literals_pb2.Primitive,
            '{"duration":"315576000001s"}',
            'proto: (line 1:13): google.protobuf.Duration value out of range: "315576000001s"',
        ),
        (literals_pb2.Primitive, '{"floatValue":1e400}', None),
        (literals_pb2.Binary, '{"value":"***"}', 'proto: (line 1:10): invalid value for bytes field value: "***"'),
        (execution_pb2.ExecutionSpec, '{"interruptible":1}', None),
        (literals_pb2.LiteralMap, '{"literals":[]}', "proto: syntax error (line 1:13): unexpected token ["),
        (literals_pb2.LiteralMap, '{"literals":{"a":null}}', "proto: syntax error (line 1:18): unexpected token null"),
        (literals_pb2.LiteralMap, '{"literals":{"a":{},"a":{}}}', 'proto: (line 1:21): duplicate map key "a"'),
        (literals_pb2.LiteralCollection, '{"literals":[null]}', None),
        (any_pb2.Any, '{"name":"n"}', 'proto: (line 1:1): missing "@type" field'),
        (any_pb2.Any, '{"@type":"x/no.Such"}', 'proto: (line 1:10): unable to resolve "x/no.Such": "not found"'),
        (any_pb2.Any, '{"@type":""}', "proto: (line 1:10): @type field contains empty value"),
        (any_pb2.Any, '{"@type":5}', "proto: (line 1:10): @type field value is not a string: 5"),
        (
            any_pb2.Any,
            '{"@type":"x/google.protobuf.Duration"}',
            'proto: (line 1:38): missing "value" field',
        ),
        (
            field_mask_pb2.FieldMask,
            '"a_b"',
            'proto: (line 1:1): google.protobuf.FieldMask.paths contains invalid path: "a_b"',
        ),
    ],
)
def test_what_does_not_fit(type_: type[Message], body: str | bytes, message: str | None) -> None:
    said = refusal(type_, body)
    assert said == message if message is not None else said.startswith("proto: ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a=b", "invalid character 'a' looking for beginning of value"),
        ("{b:1}", "invalid character 'b' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{]", "invalid character ']' looking for beginning of object key string"),
        ("nul!", "invalid character '!' in literal null (expecting 'l')"),
        ("tru", "unexpected EOF"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
        ('{"a":"\n"}', "invalid character '\\n' in string literal"),
        ('{"a":"\\x"}', "invalid character 'x' in string escape code"),
        ('{"a":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
        ("\ufeff{}", "invalid character 'ï' looking for beginning of value"),
        ("{", "unexpected EOF"),
        ('{"a', "unexpected EOF"),
        ('{"a":"\\u1', "unexpected EOF"),
        ("-", "unexpected EOF"),
        ("01", "proto: syntax error (line 1:1): unexpected token 0"),
    ],
)
def test_what_is_no_json(body: str, message: str) -> None:
    assert refusal(IDENTIFIER, body) == message
    assert refusal(IDENTIFIER, body, strict=False) == message


def test_lenient_bodies_may_say_more_than_is_known() -> None:
    body = '{"foo":{"a":[1,{"b":null}]},"name":"n","resource_type":"NEW","foo":1}'
    assert read(IDENTIFIER, body, strict=False) == IDENTIFIER(name="n")
    assert read(any_pb2.Any, '{"name":"n"}', strict=False) == any_pb2.Any()
    assert "invalid escape code" in refusal(IDENTIFIER, '{"foo":"\\ud800zzzzzz"}', strict=False)


class TestDepth:
    @staticmethod
    def types(levels: int) -> str:
        return '{"collectionType":' * levels + "{}" + "}" * levels

    @staticmethod
    def struct(levels: int) -> str:
        return '{"a":' * levels + "1" + "}" * levels

    def test_what_can_be_read_back_is_taken(self) -> None:
        assert read(types_pb2.LiteralType, self.types(90)).ByteSize() > 90
        assert read(struct_pb2.Struct, self.struct(30)).ByteSize() > 30

    @pytest.mark.parametrize("levels", [150, 290])
    def test_what_cannot_is_refused(self, levels: int) -> None:
        for strict in (True, False):
            said = refusal(types_pb2.LiteralType, self.types(levels), strict=strict)
            assert said == "proto: exceeded max recursion depth"
            assert refusal(struct_pb2.Struct, self.struct(levels), strict=strict) == said

    @pytest.mark.parametrize("levels", [400, 5_000, 200_000])
    def test_so_is_what_is_worse(self, levels: int) -> None:
        assert refusal(types_pb2.LiteralType, self.types(levels)) in (
            "exceeded max depth",
            "proto: exceeded max recursion depth",
        )
        assert refusal(IDENTIFIER, '{"foo":' + "[" * levels, strict=False) == "exceeded max depth"

    def test_binary(self) -> None:
        raw = b""
        for _ in range(150):
            size = encoder._VarintBytes(len(raw))
            raw = b"\x1a" + size + raw
        with pytest.raises(errors.InvalidArgument) as caught:
            decode.from_binary(types_pb2.LiteralType, raw)
        assert caught.value.message == "proto: cannot parse invalid wire-format data"


@pytest.mark.heavy
def test_random_damage_never_gets_past_the_exact_reader() -> None:
    """How: what the quick way takes must be what the exact reader takes, whatever happens to the body."""
    rng = random.Random(7)
    descriptors = reachable()
    taken = 0
    for _ in range(1500):
        message: Any = filled(rng.choice(descriptors), rng)
        body = bytearray(to_json(message, camel=rng.random() < 0.5))
        place = rng.randrange(len(body) + 1)
        body[place : place + rng.choice([0, 0, 1])] = rng.choice(
            [b'"', b"{", b"}", b"1", b",", b"\\", b" ", b"\xc3", b""]
        )
        quick = decode._read_simple(type(message), bytes(body), True)
        if quick is None:
            continue
        taken += 1
        found = first_value(bytes(body))
        assert found is not None
        exact = exactly(type(message), bytes(body[found[0] : found[1]]))
        assert quick.SerializeToString(deterministic=True) == type(message).FromString(
            exact.SerializeToString()
        ).SerializeToString(deterministic=True)
    assert taken > 100


@pytest.mark.parametrize("body", [b"\xff\xff\xff\xff", b'{"project":{"id":"x"}}', b"\x0a\x05a"])
def test_bytes_that_are_no_message(body: bytes) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        decode.from_binary(project_pb2.ProjectRegisterRequest, body)
    assert caught.value.message == "proto: cannot parse invalid wire-format data"


def test_binary() -> None:
    request = project_pb2.ProjectRegisterRequest(project={"id": "x"})
    assert decode.from_binary(project_pb2.ProjectRegisterRequest, request.SerializeToString()) == request
    assert decode.from_binary(project_pb2.ProjectRegisterRequest, b"") == project_pb2.ProjectRegisterRequest()


def test_details_of_a_status() -> None:
    body = '{"details":[{"@type":"x/flyteidl.core.TaskLog","uri":"u"}]}'
    expected = core_execution_pb2.TaskLog(uri="u").SerializeToString()
    assert read(status_pb2.Status, body).details[0].value == expected


def test_threads_that_meet_at_the_first_use_of_a_type_read_and_print_alike() -> None:
    """How: a compiler that has nothing yet, and many threads that need the same large type at once."""
    body = to_json(workflow_pb2.WorkflowTemplate(id={"name": "n"}, nodes=[{"id": "a"}]), camel=False)
    value, descriptor = orjson.loads(body), workflow_pb2.WorkflowTemplate.DESCRIPTOR
    message = workflow_pb2.WorkflowTemplate(**decode._ARGUMENTS[True].message(descriptor, value))
    for _ in range(20):
        arguments, compiler = decode._Arguments(strict=False), render.Encoders(camel=False)
        start = Barrier(8)

        def work(arguments: Any = arguments, compiler: Any = compiler, start: Any = start) -> tuple[bytes, Any]:
            start.wait()
            return arguments.message(descriptor, value), compiler.of(descriptor)(message)

        with ThreadPoolExecutor(8) as pool:
            outcomes = [task.result() for task in [pool.submit(work) for _ in range(8)]]
        assert outcomes == [outcomes[0]] * 8
        assert workflow_pb2.WorkflowTemplate(**outcomes[0][0]) == message
        assert outcomes[0][1] == value


def test_the_end_of_the_first_value_is_found() -> None:
    assert first_value(b' [1, {"a": "]"}] x') == (1, 16)
    assert first_value(b"  ") is None
    with pytest.raises(JsonError):
        first_value(b'{"a":')


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("1", 1),
        ("[1,2,3]", 4),
        ('{"a":1,"b":{"c":[2]}}', 5),
        ('{"a":"1,2,3,[{","b,":"\\",[,"}', 3),
        ('"' + "1," * 1000 + '"', 1),
        ('{"a" : 1 , "b" : [ 2 ]}', 4),
    ],
)
def test_values_are_counted_without_what_stands_in_strings(body: str, values: int) -> None:
    assert not has_more_values(body.encode(), values)
    assert has_more_values(body.encode(), values - 1)


def test_blanks_before_colons_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jackson writes `"a" : 1`."""
    monkeypatch.setattr(decode, "_read_exactly", None)
    body = '{"name" : "a \\" : b", "version" : "1"}'
    assert read(IDENTIFIER, body) == IDENTIFIER(name='a " : b', version="1")


def test_the_cycle_collector_is_on_after_a_body() -> None:
    assert gc.isenabled()
    read(IDENTIFIER, '{"name":"a"}')
    refusal(IDENTIFIER, "{")
    assert gc.isenabled()
