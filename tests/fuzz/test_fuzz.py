"""A short run of the fuzzer against a server process; `make fuzz` runs it for as long as is wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fuzz.inputs import KINDS, made
from tests.fuzz.run import Fuzzer, seeded
from tests.support.servers import serving

INPUTS = 600


@pytest.mark.slow
def test_random_input_breaks_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as server:
        seeded(server)
        fuzzer = Fuzzer(server, seed=20)
        asyncio.run(fuzzer.run(seconds=60, inputs_max=INPUTS))
        assert fuzzer.faults == []
        assert set(fuzzer.sent) == set(KINDS)
        # Random input that never gets past the first check would find nothing.
        assert fuzzer.statuses["200"] > INPUTS // 50


def test_an_input_is_made_from_its_seed_and_number_alone() -> None:
    assert [made(7, number)[1].data for number in range(50)] == [made(7, number)[1].data for number in range(50)]
    assert made(7, 1)[1].data != made(8, 1)[1].data
