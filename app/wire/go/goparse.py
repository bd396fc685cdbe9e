"""Values as text in Go's format: functions of strconv, time and encoding/base64, with Go's error texts.

Every parser raises ValueError. Where clients receive Go's error text, the exception has the same text.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

_SHORT_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "TRUE", "true", "True"}),
    frozenset({"0", "f", "F", "FALSE", "false", "False"}),
)
_DIGITS = re.compile(r"\d+", re.ASCII)
# Each digit matches in one way only; otherwise a long text that fails would take quadratic time.
_FLOAT = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d*)(?:\.(\d*))?([a-zµμ]+)", re.ASCII)
_DURATION_NUMBER = re.compile(r"\d*(?:\.\d*)?", re.ASCII)
_DURATION_UNIT = re.compile(r"[^.\d]*", re.ASCII)
_NANOS_BY_UNIT = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
# Go accepts an hour of one digit and a decimal comma, which RFC 3339 does not have.
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_JSON_DURATION = re.compile(r"([+-]?)(?:(0|[1-9]\d*)(?:\.(\d{0,9}))?|\.(\d{0,9}))s", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOAT32_MAX = 3.4028235677973366e38  # From here on, numbers round to more than the largest 32-bit float.


def go_quote(text: str) -> str:
    """Quote a text like strconv.Quote: printable characters stay, all others are escaped.

    Args:
        text: Bytes that are no UTF-8 are escaped singly if they were decoded with "surrogateescape".
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_go_escape, text)) + '"'


def _go_escape(letter: str) -> str:
    if letter in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[letter]
    if letter.isprintable():
        return letter
    point = ord(letter)
    if 0xDC80 <= point <= 0xDCFF:
        # A byte that is no UTF-8, as surrogateescape decodes it.
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def parse_int(text: str, bits: int) -> int:
    """Parse a signed integer like strconv.ParseInt(text, 10, bits)."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    size = _unsigned(text, digits, bits, "ParseInt")
    value = -size if text.startswith("-") else size
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise _out_of_range(text, "ParseInt")
    return value


def parse_uint(text: str, bits: int) -> int:
    """Parse an unsigned integer like strconv.ParseUint(text, 10, bits)."""
    return _unsigned(text, text, bits, "ParseUint")


def _unsigned(text: str, digits: str, bits: int, function: str) -> int:
    """Parse digits. Like Go, report a number that is too large before a wrong character behind its digits."""
    match = _DIGITS.match(digits)
    leading = match.group().lstrip("0") if match is not None else ""
    # Python refuses to parse numbers of thousands of digits, so the length is checked first.
    if len(leading) > 20 or int(leading or 0) >= 1 << bits:
        raise _out_of_range(text, function)
    if match is None or match.end() < len(digits):
        raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: invalid syntax")
    return int(leading or 0)


def _out_of_range(text: str, function: str) -> ValueError:
    return ValueError(f"strconv.{function}: parsing {go_quote(text)}: value out of range")


def parse_bool(text: str) -> bool:
    """Parse one of the twelve spellings of strconv.ParseBool."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {go_quote(text)}: invalid syntax")


def parse_float(text: str, bits: int) -> float:
    """Parse a decimal number, an infinity or NaN like strconv.ParseFloat."""
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"strconv.ParseFloat: parsing {go_quote(text)}: invalid syntax")
    value = float(text)
    named = text[-1:].isalpha()
    if not named and abs(value) >= (FLOAT32_MAX if bits == 32 else float("inf")):
        raise ValueError(f"strconv.ParseFloat: parsing {go_quote(text)}: value out of range")
    return value


def parse_go_duration(text: str) -> int:
    """Parse a duration such as 1h30m, -1.5s or 0 like time.ParseDuration. Returns nanoseconds."""
    unsigned = text.lstrip("+-") if text[1:2] not in ("+", "-") else text
    if unsigned == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(_duration_problem(text))
    nanos = 0
    for whole, fraction, unit in _DURATION_PART.findall(text.lstrip("+-")):
        if len(whole.lstrip("0")) > 20:
            raise ValueError(f"time: invalid duration {go_quote(text)}")
        scale, fraction = _NANOS_BY_UNIT[unit], fraction[:20]
        nanos += int(whole or 0) * scale + int(fraction or 0) * scale // 10 ** len(fraction)
    if nanos >= 1 << 63:
        raise ValueError(f"time: invalid duration {go_quote(text)}")
    return -nanos if text.startswith("-") else nanos


def go_float(value: float) -> str:
    """Return a finite number with the fewest digits, as strconv.FormatFloat(value, 'g', -1, 64) does.

    Numbers below 1e-4 and from 1e6 on have an exponent.
    """
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted() if value else 0
    if -4 <= exponent < 6:
        return ("-" if sign else "") + format(abs(number), "f")
    rest = "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{digits[0]}{'.' if rest else ''}{rest}e{exponent:+03d}"


def go_duration(nanos: int) -> str:
    """Return a duration as time.Duration.String does: 1h0m0s, 1.5s, 30ms, 0s."""
    sign, rest = ("-" if nanos < 0 else ""), abs(nanos)
    for unit in ("ns", "µs", "ms"):
        if 0 < rest < 1000 * _NANOS_BY_UNIT[unit]:
            return f"{sign}{_decimal(rest, _NANOS_BY_UNIT[unit])}{unit}"
    hours, rest = divmod(rest, _NANOS_BY_UNIT["h"])
    minutes, rest = divmod(rest, _NANOS_BY_UNIT["m"])
    large = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{large}{_decimal(rest, _NANOS_BY_UNIT['s'])}s"


def _decimal(amount: int, unit: int) -> str:
    whole, part = divmod(amount, unit)
    digits = str(part + unit)[1:].rstrip("0") if unit > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _duration_problem(text: str) -> str:
    """Return Go's error text for the first part that is not valid."""
    position = 1 if text[:1] in ("+", "-") else 0
    while position < len(text):
        number = _DURATION_NUMBER.match(text, position)
        if number is None or number.group() in ("", "."):
            break
        unit = _DURATION_UNIT.match(text, number.end())
        name = unit.group() if unit is not None else ""
        if not name:
            return f"time: missing unit in duration {go_quote(text)}"
        if name not in _NANOS_BY_UNIT:
            return f"time: unknown unit {go_quote(name)} in duration {go_quote(text)}"
        position = number.end() + len(name)
    return f"time: invalid duration {go_quote(text)}"


def parse_rfc3339(text: str) -> tuple[int, int]:
    """Parse a time like time.Parse(time.RFC3339Nano, text).

    Returns:
        Seconds since 1970 and nanoseconds. A fraction has at most 9 digits.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(_time_problem(text))
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        # Go has a year 0 and Python has not. Any 400 years have the same number of days.
        moment = datetime(year or 400, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise ValueError(_time_problem(text)) from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if year == 0:
        seconds -= 400 * 365 * 86_400 + 97 * 86_400
    return seconds, int((fraction or "").ljust(9, "0"))


def _time_problem(text: str) -> str:
    quoted = go_quote(text)
    return f'parsing time {quoted} as "2006-01-02T15:04:05.999999999Z07:00": cannot parse {quoted} as "2006"'


def parse_json_duration(text: str) -> tuple[int, int]:
    """Parse a duration of protobuf's JSON such as "-1.5s". Returns seconds and nanoseconds of the same sign."""
    match = _JSON_DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid duration {go_quote(text)}")
    sign, whole, fraction, bare_fraction = match.groups()
    seconds = parse_int(whole or "0", 64)
    nanos = int((fraction or bare_fraction or "").ljust(9, "0"))
    return (-seconds, -nanos) if sign == "-" else (seconds, nanos)


def parse_base64(text: str) -> bytes:
    """Parse base64 as protobuf's JSON allows it: either alphabet, padded or not. Line breaks are skipped, as in Go."""
    size = len(text.encode())
    letters = text.replace("\r", "").replace("\n", "")
    if "-" in letters or "_" in letters:
        if "+" in letters or "/" in letters:
            raise ValueError("illegal base64 data: two alphabets")
        letters = letters.replace("-", "+").replace("_", "/")
    if size % 4:
        if "=" in letters:
            raise ValueError("illegal base64 data: padding at a wrong place")
        letters += "=" * (-len(letters) % 4)
    try:
        return a2b_base64(letters, strict_mode=True)
    except Base64Error as error:
        raise ValueError(f"illegal base64 data: {error}") from error
