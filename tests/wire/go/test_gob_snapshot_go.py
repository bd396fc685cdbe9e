"""Snapshots of schedules between this server and a Go program: each reads what the other one wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from app.wire.go.gob_snapshot import decode, encode

pytestmark = pytest.mark.slow
MOMENT = datetime(2026, 3, 29, 1, 0, 0, tzinfo=UTC)
LAST_TIMES = {
    str(number * 2**57): MOMENT + timedelta(minutes=number, microseconds=number * 1001) for number in range(120)
}
ZONES = [timezone(timedelta(minutes=minutes)) for minutes in (0, 60, 330, -210, 825)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("no go on this machine: snapshots are not compared with a Go program")
    built = tmp_path_factory.mktemp("snapshot") / "snapshot"
    subprocess.run(["go", "build", "-o", str(built), "."], cwd=Path(__file__).parent / "snapshot", check=True)
    return built


def run(program: Path, what: str, given: bytes) -> bytes:
    return subprocess.run([program, what], input=given, capture_output=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("last_times", [LAST_TIMES, {}])
def test_go_reads_what_this_server_writes(program: Path, last_times: dict[str, datetime]) -> None:
    found = json.loads(run(program, "decode", encode(last_times)))
    assert {key: datetime.fromisoformat(text) for key, text in (found or {}).items()} == last_times


def test_this_server_reads_what_go_writes(program: Path) -> None:
    local = {key: moment.astimezone(ZONES[number % 5]) for number, (key, moment) in enumerate(LAST_TIMES.items())}
    given = json.dumps({key: moment.isoformat() for key, moment in local.items()}).encode()
    assert decode(run(program, "encode", given)) == LAST_TIMES


def test_go_reads_what_this_server_read_from_go(program: Path) -> None:
    given = json.dumps({"17": "2026-01-02T03:04:05.678901Z"}).encode()
    written = run(program, "encode", given)
    assert encode(decode(written)) == written
