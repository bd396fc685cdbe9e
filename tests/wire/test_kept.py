"""What is kept of printed JSON: equal to printing anew, never of another message, within its bounds."""

import random
import subprocess
import sys
from collections import namedtuple
from typing import Any

import orjson
import pytest
from flyteidl.admin import execution_pb2, project_pb2, task_pb2, workflow_pb2
from google.protobuf.message import Message

from app.cache import ByteCache
from app.wire.codecs import CAMEL_JSON, SNAKE_JSON, JsonCodec
from app.wire.page import Page
from app.wire.render import ENCODERS, to_json
from tests.support.servers import ROOT
from tests.wire.messages import filled

PAGES = (
    execution_pb2.ExecutionList,
    project_pb2.Projects,
    task_pb2.TaskList,
    workflow_pb2.WorkflowList,
    task_pb2.Task,
)


@pytest.mark.parametrize("type_", PAGES, ids=lambda type_: type_.__name__)
@pytest.mark.parametrize("codec", [SNAKE_JSON, CAMEL_JSON], ids=lambda one: one.name)
def test_kept_answers_are_those_that_printing_gives(type_: type[Message], codec: JsonCodec) -> None:
    kept = ByteCache(10_000_000)
    other = CAMEL_JSON if codec is SNAKE_JSON else SNAKE_JSON
    for seed in (*range(8), *range(8)):
        message = filled(type_.DESCRIPTOR, random.Random(seed))
        other.write(message, kept)
        assert codec.write(message, kept) == to_json(message, camel=codec is CAMEL_JSON)
    assert orjson.loads(codec.write(type_(), kept)) == orjson.loads(to_json(type_(), camel=codec is CAMEL_JSON))


def test_what_is_asked_for_again_stays_and_what_is_not_makes_room() -> None:
    kept = ByteCache(20_000)
    kept.put(("a", b""), b"x")
    kept.put(("b", b""), b"y")
    for number in range(200):
        kept.put(("n", b"%d" % number), b"z" * 100)
        assert kept.get(("a", b"")) == b"x"
    assert kept.get(("b", b"")) is None
    assert kept.get(("n", b"0")) is None
    assert kept.get(("n", b"199")) == b"z" * 100
    assert kept.get(("n", b"198")) is not kept.get(("m", b"198")) is None


def test_one_changed_field_is_another_message(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    encoder = ENCODERS[False].of(project_pb2.Project.DESCRIPTOR)

    def encode(message: project_pb2.Project) -> object:
        printed.append(message.name)
        return encoder(message)

    monkeypatch.setitem(ENCODERS[False]._complete, "flyteidl.admin.Project", encode)
    kept = ByteCache(100_000)
    projects = project_pb2.Projects(projects=[project_pb2.Project(id="a", name="1"), project_pb2.Project(id="a")])
    for _ in range(3):
        SNAKE_JSON.write(projects, kept)
    assert printed == ["1", ""]
    projects.projects[0].name = "2"
    assert orjson.loads(SNAKE_JSON.write(projects, kept))["projects"][0]["name"] == "2"
    assert printed == ["1", "", "2"]


def test_what_is_kept_has_bounds() -> None:
    kept = ByteCache(50_000)
    for number in range(1_000):
        kept.put(("k", b"%d" % number * 20), b"v" * 20)
    held = [*kept._recent.items(), *kept._before.items()]
    assert 0 < sum(len(key[-1]) + len(value) for key, value in held) < 50_000
    # What is larger than all the room is not kept, nor does it push others out.
    kept.put(("k", b""), b"x" * 60_000)
    assert len(kept._recent) + len(kept._before) == len(held)
    nothing = ByteCache(0)
    nothing.put(("a", b""), b"")
    assert nothing.get(("a", b"")) is None


RESIDENT = """
import os, random, orjson, sys
from app.cache import ByteCache

def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

size, rng = int(sys.argv[1]), random.Random(1)
kept = ByteCache(16 * 1024**2)
before = resident()
for number in range(6 * 16 * 1024**2 // (2 * size)):
    text = rng.randbytes(size // 2).hex()
    row = (number, "project", f"name {number}", text.encode())
    kept.put(("list", row), orjson.dumps({"name": text, "number": number}))
print((resident() - before) / 1024**2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 5_000, 200_000])
def test_a_process_grows_by_no_more_than_the_limit(size: int) -> None:
    """Six times what fits; the heap takes 10 % for itself, and up to 2 MiB for what lies beside."""
    command = [sys.executable, "-c", RESIDENT, str(size)]
    grown = float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert 4 < grown < 16 * 1.1 + 2


def test_what_is_put_again_is_counted_once() -> None:
    kept = ByteCache(2_000)
    kept.put(("a", b""), b"x")
    for number in range(100):
        kept.put(("b", b""), b"y" * number)
    kept.put(("b", b""), b"z" * 3_000)
    assert kept.get(("b", b"")) == b"y" * 99
    assert [*kept._recent] == [("a", b""), ("b", b"")]
    assert not kept._before


def test_an_equal_row_is_shown_and_printed_once() -> None:
    """A changed value is another row, and so are the same values in other columns."""
    row, other = namedtuple("row", ["id", "name"]), namedtuple("other", ["name", "id"])
    shown: list[tuple[str, str]] = []

    def show(given: Any) -> project_pb2.Project:
        shown.append((given.id, given.name))
        return project_pb2.Project(id=given.id, name=given.name)

    def page(*rows: Any) -> bytes:
        listed = Page(project_pb2.Projects(token="t"), rows, show)
        whole = SNAKE_JSON.write(listed.message(), ByteCache(0))
        shown.clear()
        assert SNAKE_JSON.write(listed, kept) == whole
        return whole

    kept = ByteCache(100_000)
    page(row("a", "1"), row("b", "1"))
    assert shown == [("a", "1"), ("b", "1")]
    page(row("b", "1"), row("a", "2"), row("a", "1"))
    assert shown == [("a", "2")]
    page(other("a", "1"))
    assert shown == [("1", "a")]
    assert page() == b'{"projects":[],"token":"t"}'
