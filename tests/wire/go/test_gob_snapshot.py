"""Snapshots of upstream's scheduler: equal to Go's bytes, and never an unexpected error."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.go.gob_snapshot import BadSnapshot, decode, encode

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
# Written by Go's encoding/gob for {Version: 1, Ser: gob of {LastTimes: {"12345": MOMENT}}}.
WRITTEN_BY_GO = bytes.fromhex(
    "33ff870301011156657273696f6e6564536e617073686f7401ff88000102010756657273696f6e0104000103536572010a0000007cff8801020175"
    "267f0301010a536e617073686f74563101ff8000010101094c61737454696d657301ff8400000026ff83040101156d61705b737472696e675d2a74"
    "696d652e54696d6501ff8400010c01ff8200000aff81050102ff860000001bff8001010531323334350f010000000ee0e92ca500001770ffff0000"
)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def test_equals_the_bytes_of_go() -> None:
    assert encode({"12345": MOMENT}) == WRITTEN_BY_GO
    assert decode(WRITTEN_BY_GO) == {"12345": MOMENT}


@pytest.mark.heavy
@given(st.dictionaries(st.from_regex(r"[0-9]{1,20}", fullmatch=True), TIMES, max_size=300))
def test_what_is_encoded_is_decoded(last_times: dict[str, datetime]) -> None:
    assert decode(encode(last_times)) == last_times


@given(st.integers(0, len(WRITTEN_BY_GO)), st.binary(max_size=9), st.booleans())
def test_damaged_bytes_are_refused_or_decoded(place: int, inserted: bytes, cut: bool) -> None:
    damaged = WRITTEN_BY_GO[:place] + inserted + (b"" if cut else WRITTEN_BY_GO[place:])
    with contextlib.suppress(BadSnapshot):
        assert isinstance(decode(damaged), dict)


@pytest.mark.parametrize(
    "raw", [b"", b"\x00", b"\xf0" + b"\xff" * 20, WRITTEN_BY_GO.replace(b"\xff\x88\x01\x02", b"\xff\x88\x01\x04")]
)
def test_no_snapshot(raw: bytes) -> None:
    with pytest.raises(BadSnapshot):
        decode(raw)
