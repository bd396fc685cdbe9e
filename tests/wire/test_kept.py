"""What is kept of printed JSON: equal to printing anew, never of another message, within its bounds."""

import random

import orjson
import pytest
from flyteidl.admin import execution_pb2, project_pb2, task_pb2, workflow_pb2
from google.protobuf.message import Message

from app.wire.kept import Kept
from app.wire.render import Encoding, to_bytes, to_json
from tests.wire.messages import filled

PAGES = (
    execution_pb2.ExecutionList,
    project_pb2.Projects,
    task_pb2.TaskList,
    workflow_pb2.WorkflowList,
    task_pb2.Task,
)


@pytest.mark.parametrize("type_", PAGES, ids=lambda type_: type_.__name__)
@pytest.mark.parametrize("encoding", [Encoding.PROTO_NAMES, Encoding.CAMEL_NAMES], ids=lambda one: one.name)
def test_kept_answers_are_those_that_printing_gives(type_: type[Message], encoding: Encoding) -> None:
    kept = Kept(10_000_000)
    other = Encoding.CAMEL_NAMES if encoding is Encoding.PROTO_NAMES else Encoding.PROTO_NAMES
    for seed in (*range(8), *range(8)):
        message = filled(type_.DESCRIPTOR, random.Random(seed))
        to_bytes(message, other, kept)
        assert to_bytes(message, encoding, kept) == to_json(message, camel=encoding is Encoding.CAMEL_NAMES)
    assert orjson.loads(to_bytes(type_(), encoding, kept)) == orjson.loads(
        to_json(type_(), camel=encoding is Encoding.CAMEL_NAMES)
    )


def test_a_message_is_printed_once_as_long_as_there_is_room() -> None:
    printed: list[str] = []

    def encode(message: project_pb2.Project) -> str:
        printed.append(message.id)
        return message.id

    kept = Kept(20_000)
    for _ in range(3):
        assert kept.json(project_pb2.Project(id="a"), encode) == b'"a"'
    assert printed == ["a"]
    # Asked for again and again it stays, whatever else comes.
    for number in range(200):
        kept.json(project_pb2.Project(id=f"n{number}"), encode)
        kept.json(project_pb2.Project(id="a"), encode)
    assert printed.count("a") == 1
    assert kept.json(project_pb2.Project(id="n0"), encode) == b'"n0"'
    assert printed.count("n0") == 2
    # One changed field is another message.
    assert kept.json(project_pb2.Project(id="a", name="b"), encode) == b'"a"'
    assert printed.count("a") == 2


def test_what_is_kept_has_bounds() -> None:
    kept = Kept(50_000)
    for number in range(1_000):
        kept.json(project_pb2.Project(id=f"{number}" * 20), lambda message: message.id)
    held = [*kept._recent.items(), *kept._before.items()]
    assert 0 < sum(len(data) + len(text) for (_, data), text in held) < 50_000
    # What is larger than all the room is not kept, nor does it push others out.
    before = len(held)
    kept.json(project_pb2.Project(id="x" * 60_000), lambda message: message.id)
    assert len(kept._recent) + len(kept._before) == before
    nothing = Kept(0)
    assert nothing.json(project_pb2.Project(id="a"), lambda message: message.id) == b'"a"'
    assert not nothing._recent
