"""Literals of the API as values for people and programs."""

from __future__ import annotations

import base64
from typing import Any

import msgpack
import pytest

from app.cli.terminal import values


def _binary(data: bytes, tag: str | None = "msgpack") -> dict[str, Any]:
    return {"scalar": {"binary": {"value": base64.b64encode(data).decode(), "tag": tag}}}


@pytest.mark.parametrize(
    ("literal", "plain"),
    [
        (_binary(msgpack.packb({"rate": 0.1, "layers": [3, 4]})), {"rate": 0.1, "layers": [3, 4]}),
        ({"collection": {"literals": [_binary(msgpack.packb({1: float("nan")}))]}}, [{"1": "nan"}]),
        (_binary(b"\xc1\x00\xff"), "3 bytes (msgpack)"),
        (_binary(b"\x93\x01"), "2 bytes (msgpack)"),
        (_binary(b"abcd", None), "4 bytes (binary)"),
        (_binary(b"", "png"), "0 bytes (png)"),
    ],
)
def test_a_binary_value_is_read_where_it_is_messagepack(literal: dict[str, Any], plain: Any) -> None:
    assert values.plain(literal) == plain
