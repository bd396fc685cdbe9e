"""Names equal the ones that FlytePropeller computes: vectors taken from its Go code."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.graph import unique_ids


@pytest.mark.parametrize(
    ("parent", "attempt", "node", "expected"),
    [
        ("n1", 0, "n0", "n1-0-n0"),
        ("n0-0-n0", 0, "start-node", "n0-0-n0-0-start-node"),
        ("n2-0-dn1", 0, "start-node", "f5ngfiqy"),
        ("n5", 0, "n5-n0", "n5-0-n5-n0"),
    ],
)
def test_nested_node_ids(parent: str, attempt: int, node: str, expected: str) -> None:
    assert unique_ids.node_unique_id(parent, attempt, node) == expected


@pytest.mark.parametrize(
    ("node", "name", "shard"),
    [
        ("n0", "ex1-n0-0", "47"),
        ("n2", "ex1-n2-0", "6h"),
        ("n1-0-n0", "ex1-n1-0-n0-0", "78"),
        ("n3-0-n1", "ex1-n3-0-n1-0", "th"),
    ],
)
def test_generated_names_and_shards(node: str, name: str, shard: str) -> None:
    assert unique_ids.generated_name("ex1", node, 0) == name
    assert unique_ids.shard(name) == shard


@pytest.mark.parametrize(
    ("execution", "node", "expected"),
    [
        ("ex1", "n0", "ex1-n0-0"),
        ("a1b2c3d4e5f6g7h8i9j0", "n0", "falspyf26ih3wg"),
        ("a1b2c3d4e5f6g7h8i9j0", "n1-0-n2", "ftetufnsaxhzku"),
    ],
)
def test_child_executions(execution: str, node: str, expected: str) -> None:
    assert unique_ids.child_execution(execution, node, 0) == expected


def test_an_empty_first_part_leaves_no_separator() -> None:
    assert unique_ids.uid(("", "a", "b"), 20) == "a-b"


@given(st.lists(st.text(string.ascii_lowercase + "-0123456789", max_size=40), min_size=1, max_size=5))
def test_names_never_exceed_their_limit_and_are_stable(parts: list[str]) -> None:
    first = unique_ids.uid(tuple(parts), 20)
    assert len(first) <= 20
    assert first == unique_ids.uid(tuple(parts), 20)
    assert len(unique_ids.shard(first)) == 2
