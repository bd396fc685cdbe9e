"""Values as text, read and refused as Go does; the expectations come from Go's strconv, time and encoding/base64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.go.goparse import (
    go_duration,
    go_quote,
    parse_base64,
    parse_bool,
    parse_float,
    parse_go_duration,
    parse_int,
    parse_json_duration,
    parse_rfc3339,
    parse_uint,
)

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ('a"\\', '"a\\"\\\\"'),
        ("\a\b\f\n\r\t\v\x00\x7f", '"\\a\\b\\f\\n\\r\\t\\v\\x00\\x7f"'),
        ("é日\u0085\u2028\U000e0001", '"é日\\u0085\\u2028\\U000e0001"'),
        (b"\xff".decode("utf-8", "surrogateescape"), '"\\xff"'),
    ],
)
def test_quotes(text: str, quoted: str) -> None:
    assert go_quote(text) == quoted


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda: parse_int("-0", 32), 0),
        (lambda: parse_int("+007", 32), 7),
        (lambda: parse_int("-2147483648", 32), -(2**31)),
        (lambda: parse_int("9223372036854775807", 64), 2**63 - 1),
        (lambda: parse_uint("4294967295", 32), 2**32 - 1),
        (lambda: parse_uint("0" * 5000 + "1", 64), 1),
        (lambda: parse_bool("T"), True),
        (lambda: parse_bool("0"), False),
        (lambda: parse_float("1e3", 64), 1000.0),
        (lambda: parse_float("-Inf", 64), -math.inf),
        (lambda: parse_go_duration("0"), 0),
        (lambda: parse_go_duration("-1h30m"), -5400 * SECOND),
        (lambda: parse_go_duration("1.5s"), 1_500_000_000),
        (lambda: parse_go_duration(".5h1µs"), 1800 * SECOND + 1000),
        (lambda: parse_go_duration("1.s"), SECOND),
        (lambda: parse_rfc3339("1970-01-01T00:00:00Z"), (0, 0)),
        (lambda: parse_rfc3339("2021-03-04T1:00:05.5+01:00"), (1614816005, 500_000_000)),
        (lambda: parse_rfc3339("2021-03-04T10:00:05,123456789-00:30"), (1614853805, 123_456_789)),
        (lambda: parse_rfc3339("0000-02-29T00:00:00Z"), (-62162121600, 0)),
        (lambda: parse_json_duration("-1.5s"), (-1, -500_000_000)),
        (lambda: parse_json_duration("+.s"), (0, 0)),
        (lambda: parse_json_duration("0.000000001s"), (0, 1)),
        (lambda: parse_base64(""), b""),
        (lambda: parse_base64("YWI="), b"ab"),
        (lambda: parse_base64("YWI"), b"ab"),
        (lambda: parse_base64("_-8="), b"\xff\xef"),
        (lambda: parse_base64("YW\nJj\r\nYQ"), b"abca"),
    ],
)
def test_reads(read: Callable[[], Any], value: Any) -> None:
    assert read() == value


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: parse_int("", 32), 'strconv.ParseInt: parsing "": invalid syntax'),
        (lambda: parse_int("1_0", 32), 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        (lambda: parse_int("2147483648", 32), 'strconv.ParseInt: parsing "2147483648": value out of range'),
        (lambda: parse_uint("-1", 32), 'strconv.ParseUint: parsing "-1": invalid syntax'),
        (lambda: parse_uint("4294967296", 32), 'strconv.ParseUint: parsing "4294967296": value out of range'),
        (lambda: parse_uint("4294967296x", 32), 'strconv.ParseUint: parsing "4294967296x": value out of range'),
        (lambda: parse_uint("1" * 9000, 64), f'strconv.ParseUint: parsing "{"1" * 9000}": value out of range'),
        (lambda: parse_bool("yes"), 'strconv.ParseBool: parsing "yes": invalid syntax'),
        (lambda: parse_float("x", 64), 'strconv.ParseFloat: parsing "x": invalid syntax'),
        (lambda: parse_float("1e400", 64), 'strconv.ParseFloat: parsing "1e400": value out of range'),
        (lambda: parse_float("1e39", 32), 'strconv.ParseFloat: parsing "1e39": value out of range'),
        (lambda: parse_go_duration(""), 'time: invalid duration ""'),
        (lambda: parse_go_duration("soon"), 'time: invalid duration "soon"'),
        (lambda: parse_go_duration("5"), 'time: missing unit in duration "5"'),
        (lambda: parse_go_duration("5x"), 'time: unknown unit "x" in duration "5x"'),
        (lambda: parse_go_duration("1s1"), 'time: missing unit in duration "1s1"'),
        (lambda: parse_go_duration("--1s"), 'time: invalid duration "--1s"'),
        (lambda: parse_go_duration("1..s"), 'time: missing unit in duration "1..s"'),
        (lambda: parse_go_duration("99999999999h"), 'time: invalid duration "99999999999h"'),
        (lambda: parse_go_duration("9" * 5000 + "s"), f'time: invalid duration "{"9" * 5000}s"'),
    ],
)
def test_refuses_in_gos_words(read: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared.
        read()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse_rfc3339("noon"),
        lambda: parse_rfc3339("2021-02-30T00:00:00Z"),
        lambda: parse_rfc3339("2021-03-04T25:00:00Z"),
        lambda: parse_rfc3339("2021-03-04T10:00:05.1234567891Z"),
        lambda: parse_rfc3339("2021-03-04T10:00:05+99:00"),
        lambda: parse_json_duration("s"),
        lambda: parse_json_duration("01s"),
        lambda: parse_json_duration("1.0000000001s"),
        lambda: parse_json_duration("99999999999999999999s"),
        lambda: parse_base64("***"),
        lambda: parse_base64("+_=="),
        lambda: parse_base64("a==="),
        lambda: parse_base64("YWI=x"),
    ],
)
def test_refuses(read: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller says what is wrong.
        read()


@pytest.mark.parametrize(
    ("value_ns", "shown"),
    [
        (0, "0s"), (1, "1ns"), (1100, "1.1µs"), (2_200_000, "2.2ms"), (3_300_000_000, "3.3s"), (5 * 60 * 10**9, "5m0s"),
        (365_500_000_000, "6m5.5s"), (3600 * 10**9, "1h0m0s"), (-1_500_000_000, "-1.5s"), (999_999_999, "999.999999ms"),
        (2**63 - 1, "2562047h47m16.854775807s"), (-(2**63), "-2562047h47m16.854775808s"),
    ],
)  # fmt: skip
def test_durations_are_printed_as_go_does(value_ns: int, shown: str) -> None:
    assert go_duration(value_ns) == shown


@given(st.integers(1 - 2**63, 2**63 - 1))
def test_a_printed_duration_is_the_duration(value_ns: int) -> None:
    assert parse_go_duration(go_duration(value_ns)) == value_ns
