"""How Go reads values written as text, with the words of its refusals, and prints some: strconv, time, base64.

Every function raises ValueError; where Go's error text reaches clients, that text is the exception's.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from datetime import UTC, datetime, timedelta, timezone

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
# A digit can be matched in one way only, or a long text that fails would take quadratic time.
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
# Go reads an hour of one digit and a decimal comma too, although RFC 3339 knows neither.
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_JSON_DURATION = re.compile(r"([+-]?)(?:(0|[1-9]\d*)(?:\.(\d{0,9}))?|\.(\d{0,9}))s", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOAT32_MAX = 3.4028235677973366e38  # What rounds to more than the largest 32-bit float begins here.


def go_quote(text: str) -> str:
    """strconv.Quote: printable characters stay, the rest is escaped."""
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
        # A byte that is not UTF-8, as Python's surrogateescape keeps it.
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def parse_int(text: str, bits: int) -> int:
    """strconv.ParseInt(text, 10, bits)."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    size = _unsigned(text, digits, bits, "ParseInt")
    value = -size if text.startswith("-") else size
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise _out_of_range(text, "ParseInt")
    return value


def parse_uint(text: str, bits: int) -> int:
    """strconv.ParseUint(text, 10, bits)."""
    return _unsigned(text, text, bits, "ParseUint")


def _unsigned(text: str, digits: str, bits: int, function: str) -> int:
    """Go reads digit by digit, so a number that has grown too large is found before a wrong character behind it."""
    match = _DIGITS.match(digits)
    leading = match.group().lstrip("0") if match is not None else ""
    # The length is looked at first because Python refuses to read numbers of thousands of digits.
    if len(leading) > 20 or int(leading or 0) >= 1 << bits:
        raise _out_of_range(text, function)
    if match is None or match.end() < len(digits):
        raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: invalid syntax")
    return int(leading or 0)


def _out_of_range(text: str, function: str) -> ValueError:
    return ValueError(f"strconv.{function}: parsing {go_quote(text)}: value out of range")


def parse_bool(text: str) -> bool:
    """strconv.ParseBool."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {go_quote(text)}: invalid syntax")


def parse_float(text: str, bits: int) -> float:
    """strconv.ParseFloat for decimal numbers, infinities and NaN."""
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"strconv.ParseFloat: parsing {go_quote(text)}: invalid syntax")
    value = float(text)
    named = text[-1:].isalpha()
    if not named and abs(value) >= (FLOAT32_MAX if bits == 32 else float("inf")):
        raise ValueError(f"strconv.ParseFloat: parsing {go_quote(text)}: value out of range")
    return value


def parse_go_duration(text: str) -> int:
    """time.ParseDuration: "1h30m", "-1.5s", "0"; in nanoseconds."""
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


def go_duration(nanos: int) -> str:
    """A duration as Go prints it: 1h0m0s, 1.5s, 30ms, 0s (time.Duration.String)."""
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
    """Walk over the parts as Go does, up to the one that it stumbles over."""
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
    """time.Parse(time.RFC3339Nano, text): seconds since 1970 and nanoseconds. At most 9 digits of fraction."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(_time_problem(text))
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        # Year 0 exists for Go and not for Python; 400 years have the same number of days everywhere.
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
    """A duration as protobuf's JSON writes it, "-1.5s": seconds and nanoseconds of the same sign."""
    match = _JSON_DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid duration {go_quote(text)}")
    sign, whole, fraction, bare_fraction = match.groups()
    seconds = parse_int(whole or "0", 64)
    nanos = int((fraction or bare_fraction or "").ljust(9, "0"))
    return (-seconds, -nanos) if sign == "-" else (seconds, nanos)


def parse_base64(text: str) -> bytes:
    """Standard or URL alphabet, padded or not, as protobuf's JSON takes it; line breaks are skipped as Go does."""
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
