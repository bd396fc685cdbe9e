"""The functions that run after the commit of a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


def test_a_function_without_a_name_is_served(bench: Callable[..., Any]) -> None:
    """The engine for Kubernetes reads the data of launches by a partial."""
    ran: list[str] = []

    async def service(ctx: Any, request: str, *, more: str) -> str:
        ctx.after_commit(lambda: ran[0])
        return request + more

    async def scenario(b: Any) -> None:
        # The callback fails, and the log line names the function.
        assert await b.call(partial(service, more="y"), "x") == "xy"

    bench(scenario)
