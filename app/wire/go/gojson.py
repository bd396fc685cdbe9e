"""JSON scanned as Go does: the end of the first value of a body, its tokens, and Go's error texts.

Upstream's gateway reads a body twice. encoding/json finds the end of the first value and refuses a text that is no
JSON. protojson then parses that value and reports errors with line and column. This module has the scanners of both;
app/wire/protojson.py turns the tokens into a message. Both serve bodies that app/wire/decode.py finds not simple.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from app.wire.go.goparse import go_quote

# Go's limit is 10,000 levels. protobuf's binary form allows 100, so a deeper value could not be stored.
DEPTH_MAX = 300

_SPACE = re.compile(rb"[ \t\r\n]*")
# Possessive, so that strings of megabytes need no memory for backtracking.
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]|[^\s{}\[\]:,"]+', re.DOTALL)
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_LETTER_BY_ESCAPE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}


class JsonError(ValueError):
    """The body is not valid; the client receives the message."""


def has_more_values(body: bytes, values_max: int) -> bool:
    """Return whether a JSON text has more than values_max values: scalars, objects and lists at any depth.

    Commas and opening brackets are counted, because every value but the first follows one of them. So an empty object
    or list counts as two values. A text that is no JSON is counted in the same way.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) < values_max:
        return False
    # Strings contain commas too, so tokens are scanned: few long strings, or many up to the limit.
    values = 1
    for match in _MARK.finditer(body):
        values += body[match.start()] != 0x22
        if values > values_max:
            return True
    return values > values_max


def first_value(body: bytes) -> tuple[int, int] | None:
    """Return start and end of the first JSON value; None for a body of blanks. Bytes behind the value are ignored.

    Raises:
        JsonError: With the text of encoding/json.
    """
    start = position = _skip(body, 0)
    if start == len(body):
        return None
    open_: list[int] = []
    while True:
        position = _value(body, position, open_)
        if position < 0:
            # An object or a list was opened, and is not empty.
            position = -position
            continue
        position = _after(body, position, open_)
        if not open_:
            return start, position


def _value(body: bytes, position: int, open_: list[int]) -> int:
    """Read a scalar or empty container, return its end; or open a container, return minus the next start."""
    letter = _letter(body, position)
    if letter == 0x22:
        return _scan_string(body, position)
    if letter in (0x7B, 0x5B):
        if len(open_) >= DEPTH_MAX:
            raise JsonError("exceeded max depth")
        following = _skip(body, position + 1)
        if _letter(body, following) == letter + 2:
            return following + 1
        open_.append(letter)
        return -(_key(body, following) if letter == 0x7B else following)
    if letter in _LITERALS:
        return _scan_literal(body, position, _LITERALS[letter])
    if letter == 0x2D or 0x30 <= letter <= 0x39:
        return _scan_number(body, position)
    raise _unexpected(letter, "looking for beginning of value")


def _after(body: bytes, position: int, open_: list[int]) -> int:
    """Return the start of the next value; close the containers that end before it."""
    while open_:
        position = _skip(body, position)
        letter = _letter(body, position)
        if letter == open_[-1] + 2:
            open_.pop()
            position += 1
            continue
        in_object = open_[-1] == 0x7B
        if letter != 0x2C:
            raise _unexpected(letter, "after object key:value pair" if in_object else "after array element")
        position = _skip(body, position + 1)
        return _key(body, position) if in_object else position
    return position


def _key(body: bytes, position: int) -> int:
    """Read a key and its colon, and return the start of its value."""
    letter = _letter(body, position)
    if letter != 0x22:
        raise _unexpected(letter, "looking for beginning of object key string")
    position = _skip(body, _scan_string(body, position))
    letter = _letter(body, position)
    if letter != 0x3A:
        raise _unexpected(letter, "after object key")
    return _skip(body, position + 1)


def _scan_string(body: bytes, position: int) -> int:
    match = _STRING.match(body, position)
    if match is not None:
        return match.end()
    position += 1
    while True:
        letter = _letter(body, position)
        if letter < 0x20:
            raise _unexpected(letter, "in string literal")
        if letter == 0x5C:
            position += 1
            letter = _letter(body, position)
            if letter == 0x75:
                for digit in range(position + 1, position + 5):
                    if _letter(body, digit) not in b"0123456789abcdefABCDEF":
                        raise _unexpected(body[digit], "in \\u hexadecimal character escape")
            elif letter not in b'"\\/bfnrt':
                raise _unexpected(letter, "in string escape code")
        position += 1


def _scan_literal(body: bytes, position: int, literal: bytes) -> int:
    for offset, expected in enumerate(literal):
        letter = _letter(body, position + offset)
        if letter != expected:
            raise _unexpected(letter, f"in literal {literal.decode()} (expecting '{chr(expected)}')")
    return position + len(literal)


def _scan_number(body: bytes, position: int) -> int:
    """Return the end of a number. The caller checks the character behind it."""
    match = _NUMBER.match(body, position)
    if match is None:
        raise _unexpected(_letter(body, position + 1), "in numeric literal")
    end = match.end()
    if end < len(body):
        text = match.group()
        if body[end] == 0x2E and not re.search(rb"[.eE]", text):
            raise _unexpected(_letter(body, end + 1), "after decimal point in numeric literal")
        if body[end] in b"eE" and not re.search(rb"[eE]", text):
            sign = _letter(body, end + 1) in b"+-"
            raise _unexpected(_letter(body, end + 1 + sign), "in exponent of numeric literal")
    return end


def _skip(body: bytes, position: int) -> int:
    match = _SPACE.match(body, position)
    return match.end() if match is not None else position


def _letter(body: bytes, position: int) -> int:
    if position >= len(body):
        raise JsonError("unexpected EOF")
    return body[position]


def _unexpected(letter: int, context: str) -> JsonError:
    """Return the error for a byte. Go shows it as the character of that number, even inside a UTF-8 sequence."""
    shown = {0x27: "'\\''", 0x22: "'\"'"}.get(letter) or f"'{go_quote(chr(letter))[1:-1]}'"
    return JsonError(f"invalid character {shown} {context}")


class JsonToken(NamedTuple):
    """One token.

    Attributes:
        kind: One of { } [ ] " 0 t f n, or "" at the end.
        start: The position of the token in the bytes of the value.
        raw: The token as it is written.
        text: The content of a string.
    """

    kind: str
    start: int
    raw: str
    text: str = ""


class JsonTokens:
    """The tokens of one JSON value that `first_value` has accepted, without commas and colons.

    Args:
        value: The text of the value.
        start: The position of the first token to read.
    """

    def __init__(self, value: bytes, start: int = 0) -> None:
        self.value = value
        self._tokens = self._read(start)
        self._peeked: JsonToken | None = None

    def next(self) -> JsonToken:
        """Return the next token and advance."""
        token, self._peeked = self._peeked or next(self._tokens), None
        return token

    def peek(self) -> JsonToken:
        """Return the next token without advancing."""
        if self._peeked is None:
            self._peeked = next(self._tokens)
        return self._peeked

    def skip(self) -> None:
        """Skip one value of any kind."""
        depth = 0
        while True:
            kind = self.next().kind
            depth += (kind in "{[") - (kind in "}]")
            if depth == 0:
                return

    def place(self, position: int) -> str:
        """Return "line 1:5" for a position in the bytes; columns count characters."""
        line = self.value.count(b"\n", 0, position) + 1
        last = self.value[self.value.rfind(b"\n", 0, position) + 1 : position]
        return f"line {line}:{len(last.decode('utf-8', 'replace')) + 1}"

    def error(self, position: int, problem: str) -> JsonError:
        """Return an error about a value that does not fit the message."""
        return JsonError(f"proto: ({self.place(position)}): {problem}")

    def syntax_error(self, position: int, problem: str) -> JsonError:
        """Return an error about a text that is no protobuf JSON."""
        return JsonError(f"proto: syntax error ({self.place(position)}): {problem}")

    def unexpected(self, token: JsonToken) -> JsonError:
        """Return the error about a token of the wrong kind."""
        return self.syntax_error(token.start, f"unexpected token {token.raw}")

    def _read(self, start: int) -> Iterator[JsonToken]:
        for match in _TOKEN.finditer(self.value, start):
            try:
                raw = match.group().decode()
            except UnicodeDecodeError as error:
                raise self.syntax_error(match.start(), "invalid UTF-8 in string") from error
            if raw[0] == '"':
                yield JsonToken('"', match.start(), raw, self._text(match, raw))
            else:
                yield JsonToken("0" if raw[0] in "-0123456789" else raw[0], match.start(), raw)
        yield JsonToken("", len(self.value), "")

    def _text(self, match: re.Match[bytes], raw: str) -> str:
        """Return the content of a string. Raises JsonError for half a surrogate pair."""
        if "\\" not in raw:
            return raw[1:-1]

        def joined(pair: re.Match[str]) -> str:
            high, low = pair.groups()
            if high is None:
                return pair.group()
            if low is None or not 0xD800 <= int(high, 16) < 0xDC00 <= int(low, 16) < 0xE000:
                rest = raw[1 + pair.start() + 6 :].encode() + self.value[match.end() : match.end() + 6]
                if len(rest) < 6:
                    raise JsonError("proto: unexpected EOF")
                code = go_quote(rest[:6].decode("utf-8", "surrogateescape"))
                raise self.syntax_error(match.start(), f"invalid escape code {code} in string")
            return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)

        return _ESCAPE.sub(_unescape, _SURROGATES.sub(joined, raw[1:-1]))


# An escaped backslash is matched too, so that the text behind it is not taken for an escape.
_SURROGATES = re.compile(r"\\\\|\\u([dD][89a-fA-F][0-9a-fA-F]{2})(?:\\u([0-9a-fA-F]{4}))?")


def _unescape(match: re.Match[str]) -> str:
    code, letter = match.groups()
    return chr(int(code, 16)) if code else _LETTER_BY_ESCAPE.get(letter, letter)
