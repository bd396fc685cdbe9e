"""The snapshot of upstream's scheduler: the last times of schedules, in Go's gob encoding.

A snapshot is a gob of the struct {Version int; Ser []byte}. `Ser` is a gob of the struct
{LastTimes map[string]*time.Time}. A gob is a sequence of messages: descriptions of types, then a value. Decoding skips
the descriptions, and encoding writes constant ones, because both structs never change in version 1.

Source: flyteadmin/scheduler/snapshoter, encoding/gob, time.Time.MarshalBinary.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

VERSION = 1
# A snapshot of a million schedules has about 40 MB.
BYTES_MAX = 64 * 1024 * 1024

# Descriptions of the types, as Go writes them.
_OUTER_TYPES = bytes.fromhex(
    "33ff870301011156657273696f6e6564536e617073686f7401ff88000102010756657273696f6e0104000103536572010a000000"
)
_INNER_TYPES = bytes.fromhex(
    "267f0301010a536e617073686f74563101ff8000010101094c61737454696d657301ff8400000026ff83040101156d61705b737472696e675d"
    "2a74696d652e54696d6501ff8400010c01ff8200000aff81050102ff86000000"
)
_OUTER_ID, _INNER_ID = bytes.fromhex("ff88"), bytes.fromhex("ff80")
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_TIME_BYTES = 15
_ZONE_UTC = b"\xff\xff"


class BadSnapshot(ValueError):
    """The bytes are no snapshot of a known version."""


def encode(last_times: Mapping[str, datetime]) -> bytes:
    """Return the snapshot of last times by schedule key."""
    body = bytearray(_INNER_ID + b"\x01" + _uint(len(last_times)))
    for key, moment in last_times.items():
        time = _time(moment)
        body += _sized(key.encode()) + _sized(time)
    inner = _INNER_TYPES + _sized(bytes(body) + b"\x00")
    outer = _OUTER_ID + b"\x01" + _uint(VERSION << 1) + b"\x01" + _sized(inner) + b"\x00"
    return _OUTER_TYPES + _sized(outer)


def decode(raw: bytes) -> dict[str, datetime]:
    """Return the last times by schedule key.

    Raises:
        BadSnapshot: The bytes are no snapshot, or one of another version.
    """
    if len(raw) > BYTES_MAX:
        raise BadSnapshot(f"{len(raw)} bytes are too many")
    try:
        version, inner = _outer(_value(raw))
        if version != VERSION:
            raise BadSnapshot(f"version {version}, expected {VERSION}")
        return _inner(_value(inner))
    except (IndexError, UnicodeDecodeError, OverflowError) as error:
        raise BadSnapshot("the bytes end early or are malformed") from error


class _Reader:
    """Reads gob values from bytes. Raises IndexError where they end early."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.place = 0

    @property
    def ended(self) -> bool:
        return self.place >= len(self._raw)

    def uint(self) -> int:
        first = self._raw[self.place]
        self.place += 1
        if first < 0x80:
            return first
        count = 256 - first
        if count > 8:
            raise BadSnapshot("a number has more than 8 bytes")
        return int.from_bytes(self._bytes(count), "big")

    def integer(self) -> int:
        value = self.uint()
        return ~(value >> 1) if value & 1 else value >> 1

    def sized(self) -> bytes:
        return self._bytes(self.uint())

    def _bytes(self, count: int) -> bytes:
        if self.place + count > len(self._raw):
            raise IndexError
        self.place += count
        return self._raw[self.place - count : self.place]


def _value(raw: bytes) -> _Reader:
    """Return a reader at the value of a gob, behind the descriptions of types, which have negative ids."""
    messages = _Reader(raw)
    while not messages.ended:
        message = _Reader(messages.sized())
        if message.integer() > 0:
            return message
    raise BadSnapshot("no value")


def _outer(value: _Reader) -> tuple[int, bytes]:
    version, serialized, field = 0, b"", 0
    # A zero ends the struct; other numbers are the distance to the next field that is set.
    while distance := value.uint():
        field += distance
        if field == 1:
            version = value.integer()
        elif field == 2:
            serialized = value.sized()
        else:
            raise BadSnapshot(f"unknown field {field}")
    return version, serialized


def _inner(value: _Reader) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    distance = value.uint()
    if distance == 0:
        return found
    if distance != 1:
        raise BadSnapshot("unknown field")
    for _ in range(value.uint()):
        key = value.sized().decode()
        found[key] = _moment(value.sized())
    return found


def _moment(raw: bytes) -> datetime:
    """Return a time. Its zone, the last bytes, does not matter."""
    if len(raw) < _TIME_BYTES or raw[0] not in (1, 2):
        raise BadSnapshot("a time of an unknown form")
    seconds, nanos = int.from_bytes(raw[1:9], "big", signed=True), int.from_bytes(raw[9:13], "big", signed=True)
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _time(moment: datetime) -> bytes:
    passed = moment.astimezone(UTC) - _EPOCH
    seconds, micros = passed // timedelta(seconds=1), passed.microseconds
    return b"\x01" + seconds.to_bytes(8, "big", signed=True) + (micros * 1000).to_bytes(4, "big") + _ZONE_UTC


def _uint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes((256 - len(raw),)) + raw


def _sized(raw: bytes) -> bytes:
    return _uint(len(raw)) + raw
