"""gRPC over HTTP/2, the pure half: frames, timeouts, metadata and the trailers that carry a status.

Specification: PROTOCOL-HTTP2.md of gRPC. Words and codes of refusals are those of grpc-go 1.80, upstream's server.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import quote

from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from app import errors
from app.wire.render import to_status
from app.wire.text import quoted

M = TypeVar("M", bound=Message)
Headers = list[tuple[bytes, bytes]]

# Python's client refuses metadata above 8 KiB at random and above 16 KiB always; HTTP/2 counts 32 bytes for each field.
TRAILERS_BYTES_MAX = 7_680
_FIELD_OVERHEAD_BYTES = 32
_PREFIX_BYTES = 5
_ENCODINGS = (b"identity", b"gzip")

_frame = struct.Struct(">BI").pack
_units = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# All of printable ASCII but the percent sign travels as it is in grpc-message.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def framed(payload: bytes) -> bytes:
    """One message as it stands in a body: flag 0 (not compressed), length, bytes."""
    return _frame(0, len(payload)) + payload


def take(buffer: bytearray, encoding: bytes, bytes_max: int) -> bytes | None:
    """Remove the first message from buffer and return it decompressed; None as long as it is incomplete.

    errors: RESOURCE_EXHAUSTED above bytes_max; INTERNAL for a broken frame or broken compression
    """
    if len(buffer) < _PREFIX_BYTES:
        return None
    size = int.from_bytes(buffer[1:_PREFIX_BYTES], "big")
    if size > bytes_max:
        raise errors.ResourceExhausted(f"grpc: received message larger than max ({size} vs. {bytes_max})")
    end = _PREFIX_BYTES + size
    if len(buffer) < end:
        return None
    flag, payload = buffer[0], bytes(buffer[_PREFIX_BYTES:end])
    del buffer[:end]
    if flag == 0:
        return payload
    if flag != 1:
        raise errors.Internal(f"grpc: received unexpected payload format {flag}")
    if encoding == b"identity":
        raise errors.Internal("grpc: compressed flag set with identity or empty encoding")
    return _gunzip(payload, bytes_max)


def _gunzip(payload: bytes, bytes_max: int) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(payload, bytes_max + 1)
    except zlib.error as error:
        raise errors.Internal("grpc: failed to decompress the message: gzip: invalid header") from error
    if len(plain) > bytes_max:
        raise errors.ResourceExhausted(f"grpc: received message after decompression larger than max {bytes_max}")
    if not inflate.eof:
        raise errors.Internal("grpc: failed to read decompressed data: unexpected EOF")
    return plain


def parsed(kind: type[M], payload: bytes) -> M:
    """A message from its bytes. errors: INTERNAL in grpc-go's words."""
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        problem = "proto: cannot parse invalid wire-format data"
        if "UTF-8" in str(error):
            problem = "string field contains invalid UTF-8"
        raise errors.Internal(f"grpc: error unmarshalling request: {problem}") from error


def check_encoding(encoding: bytes) -> None:
    """errors: UNIMPLEMENTED for a compression that is not served"""
    if encoding not in _ENCODINGS:
        raise errors.Unimplemented(f"grpc: Decompressor is not installed for grpc-encoding {quoted(encoding)}")


def timeout_seconds(value: bytes) -> float:
    """The header grpc-timeout: up to 8 digits and a unit. errors: INTERNAL naming what is wrong with it."""
    text = value.decode("latin-1")
    problem = ""
    if len(text) < 2:
        problem = f"transport: timeout string is too short: {quoted(value)}"
    elif len(text) > 9:
        problem = f"transport: timeout string is too long: {quoted(value)}"
    elif text[-1] not in _units:
        problem = f"transport: timeout unit is not recognized: {quoted(value)}"
    elif not value[:-1].isdigit():
        problem = f"strconv.ParseUint: parsing {quoted(value[:-1])}: invalid syntax"
    if problem:
        raise errors.Internal(f"malformed grpc-timeout: {problem}")
    return int(text[:-1]) * _units[text[-1]]


def check_binary(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """errors: INTERNAL for a header whose name ends in -bin and whose value is not base64"""
    for name, value in headers:
        if name.endswith(b"-bin"):
            try:
                base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise errors.Internal(
                    f"malformed binary metadata {quoted(value)} in header {quoted(name)}: illegal base64 data"
                ) from error


def status(error: errors.FlyteError) -> status_pb2.Status:
    """The google.rpc.Status of an error, which fits in the trailers together with the fields made from it.

    The message is cut further than errors.MESSAGE_BYTES_MAX where its escapes and the details leave less room.
    """
    whole = to_status(error)
    while whole.message and _size(_trailers(whole)) > TRAILERS_BYTES_MAX:
        whole.message = errors.cut(whole.message, len(whole.message.encode()) * 3 // 4)
    return whole


def trailers(error: errors.FlyteError) -> Headers:
    """grpc-status, grpc-message and, where the error has details, grpc-status-details-bin."""
    return _trailers(status(error))


def _trailers(whole: status_pb2.Status) -> Headers:
    fields = [(b"grpc-status", str(whole.code).encode())]
    if whole.message:
        fields.append((b"grpc-message", _escaped(whole.message)))
    if whole.details:
        fields.append((b"grpc-status-details-bin", base64.b64encode(whole.SerializeToString()).rstrip(b"=")))
    return fields


def _size(fields: Headers) -> int:
    return sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in fields)


def _escaped(message: str) -> bytes:
    escaped = quote(message, safe=_PLAIN, errors="replace")
    if escaped != escaped.strip(" "):
        # HTTP/2 forbids blanks at the ends of a value, which grpc-message's escaping would let through.
        escaped = escaped.replace(" ", "%20")
    return escaped.encode()
