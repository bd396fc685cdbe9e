"""The text form of messages; every expectation was checked against Go's prototext."""

import pytest
from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2, literals_pb2, tasks_pb2, workflow_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from app.wire.text import prototext_quote, text

IDENTIFIER = identifier_pb2.Identifier(
    resource_type=identifier_pb2.TASK, project="p", domain="d", name="n", version="v"
)


def packed(message: Message) -> any_pb2.Any:
    box = any_pb2.Any()
    box.Pack(message)
    return box


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, "<nil>"),
        (identifier_pb2.Identifier(), ""),
        (IDENTIFIER, 'resource_type:TASK project:"p" domain:"d" name:"n" version:"v"'),
        (identifier_pb2.Identifier(resource_type=77), "resource_type:77"),
        (identifier_pb2.NodeExecutionIdentifier(execution_id={}), "execution_id:{}"),
        (
            identifier_pb2.NodeExecutionIdentifier(node_id="n0", execution_id={"project": "p", "name": "e"}),
            'node_id:"n0" execution_id:{project:"p" name:"e"}',
        ),
        (
            common_pb2.Labels(values={"b": "2", "a": "1"}),
            'values:{key:"a" value:"1"} values:{key:"b" value:"2"}',
        ),
        (tasks_pb2.Container(args=["a", "", "b c"]), 'args:"a" args:"" args:"b c"'),
        # A member of a oneof has presence, so its default value is printed.
        (literals_pb2.Primitive(boolean=False), "boolean:false"),
        (literals_pb2.Primitive(integer=-(2**63)), "integer:-9223372036854775808"),
        (literals_pb2.Binary(value=b"\xff\x00a\xc3\xa9"), 'value:"\\xff\\x00aé"'),
        (workflow_pb2.ArrayNode(min_success_ratio=0.1), "min_success_ratio:0.1"),
        (packed(identifier_pb2.Identifier(name="n")), '[type.googleapis.com/flyteidl.core.Identifier]:{name:"n"}'),
        (any_pb2.Any(type_url="x/no.Such", value=b"a"), 'type_url:"x/no.Such" value:"a"'),
        (
            any_pb2.Any(type_url="type.googleapis.com/flyteidl.core.Identifier", value=b"\xff"),
            'type_url:"type.googleapis.com/flyteidl.core.Identifier" value:"\\xff"',
        ),
        (
            identifier_pb2.Identifier.FromString(
                b"\xa0\x06\x05\xaa\x06\x03abc\xad\x06\x01\x00\x00\x00\xb1\x06\x02"
                + bytes(7)
                + b"\xab\x06\x08\x01\xac\x06"
            ),
            '100:5 101:"abc" 101:0x1 102:0x2 101:{1:1}',
        ),
    ],
)
def test_text(message: Message | None, expected: str) -> None:
    assert text(message) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", '""'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\n\r\t\x00\x1f\x7f", '"\\n\\r\\t\\x00\\x1f\\x7f"'),
        ("é\u0085日本𝄞\u2028", '"é\\u0085日本𝄞\u2028"'),
        (b"\x80", '"\\x80"'),
    ],
)
def test_prototext_quote(value: str | bytes, expected: str) -> None:
    assert prototext_quote(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (1e21, "1e+21"),
        (0.0001, "0.0001"),
        (0.00005, "5e-05"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_floats(value: float, expected: str) -> None:
    assert text(literals_pb2.Primitive(float_value=value)) == f"float_value:{expected}"
