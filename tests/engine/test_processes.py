"""Attempts really run, end in all the ways there are, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.engine.local.attempts import Succeeded
from tests.engine.conftest import Bench, literal, run

Benches = Callable[..., Bench]


@pytest.mark.parametrize("warm", [True, False])
def test_a_task_gives_its_outputs(bench: Benches, warm: bool) -> None:
    async def main() -> None:
        made = bench(warm=warm)
        async with made.runner() as runner:
            attempt = made.attempt("double", {"x": 21})
            outcome = await run(runner, attempt)
            print(attempt.log_path.read_text())
            assert isinstance(outcome, Succeeded), outcome
            assert outcome.outputs.literals["o0"] == literal(42)
            assert outcome.output_uri == f"{attempt.output_prefix}/outputs.pb"

    asyncio.run(main())
