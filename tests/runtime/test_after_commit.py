"""The functions that run after the commit of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app import errors


def test_a_refusal_of_one_keeps_no_other_from_running(bench: Callable[..., Any]) -> None:
    ran: list[str] = []

    async def refuses() -> None:
        ran.append("refuses")
        raise errors.ResourceExhausted("the engine is full")

    def fails() -> None:
        ran.append("fails")
        raise ValueError("a fault")

    async def service(ctx: Any, request: str) -> str:
        for callback in (refuses, fails, lambda: ran.append("last")):
            ctx.after_commit(callback)
        return request

    async def scenario(b: Any) -> None:
        with pytest.raises(errors.ResourceExhausted):
            await b.call(service, "x")
        assert ran == ["refuses", "fails", "last"]

    bench(scenario)
