"""gRPC over HTTP/2 without I/O: frames, compression, metadata, and the trailers that carry a status.

Specification: PROTOCOL-HTTP2.md of gRPC. Codes and texts of errors are those of grpc-go 1.80, upstream's server.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import secrets
import struct
import zlib
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import quote

from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from app import errors
from app.api.timeouts import strict_timeout_seconds
from app.runtime.dispatch import REQUEST_ID_LENGTH_MAX
from app.wire.codecs import to_status
from app.wire.go.goparse import go_quote

M = TypeVar("M", bound=Message)
Headers = list[tuple[bytes, bytes]]

# grpcio's client refuses metadata above 8 KiB at random and above 16 KiB always. HTTP/2 adds 32 bytes to each field.
TRAILERS_BYTES_MAX = 7_680
_FIELD_OVERHEAD_BYTES = 32
_PREFIX_BYTES = 5
_ENCODINGS = (b"identity", b"gzip")
# Request ids of calls that bring none: a random prefix for the process and a number for the call.
_PROCESS = f"{secrets.token_hex(5)}-"
_numbers = itertools.count(1)

_prefix = struct.Struct(">BI").pack
# The characters that grpc-message does not escape: printable ASCII without the percent sign.
_UNESCAPED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def frame(payload: bytes) -> bytes:
    """Return a message's frame: flag 0 (not compressed), length, bytes."""
    return _prefix(0, len(payload)) + payload


def take_message(buffer: bytearray, encoding: bytes, bytes_max: int) -> bytes | None:
    """Remove the first message from buffer and return it decompressed; None while it is incomplete.

    Raises:
        FlyteError: RESOURCE_EXHAUSTED above bytes_max; INTERNAL for a broken frame or broken compression.
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


def parse(type_: type[M], payload: bytes) -> M:
    """Parse a message. Raises INTERNAL with the text of grpc-go."""
    try:
        return type_.FromString(payload)
    except DecodeError as error:
        problem = "proto: cannot parse invalid wire-format data"
        if "UTF-8" in str(error):
            problem = "string field contains invalid UTF-8"
        raise errors.Internal(f"grpc: error unmarshalling request: {problem}") from error


def request_id(given: str) -> str:
    """Return the request id that a client gave, cut at REQUEST_ID_LENGTH_MAX, or a new one for ""."""
    return given[:REQUEST_ID_LENGTH_MAX] or f"{_PROCESS}{next(_numbers)}"


def check_encoding(encoding: bytes) -> None:
    """Raise UNIMPLEMENTED for a compression other than gzip."""
    if encoding not in _ENCODINGS:
        raise errors.Unimplemented(f"grpc: Decompressor is not installed for grpc-encoding {_quote(encoding)}")


def timeout_seconds(value: bytes) -> float:
    """Return the header grpc-timeout in seconds. Raises INTERNAL for a malformed one."""
    try:
        return strict_timeout_seconds(value.decode("latin-1"))
    except ValueError as error:
        raise errors.Internal(f"malformed grpc-timeout: {error}") from error


def check_binary(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise INTERNAL for a header whose name ends in -bin and whose value is not base64."""
    for name, value in headers:
        if name.endswith(b"-bin"):
            try:
                base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise errors.Internal(
                    f"malformed binary metadata {_quote(value)} in header {_quote(name)}: illegal base64 data"
                ) from error


def status(error: errors.FlyteError) -> status_pb2.Status:
    """Return an error as google.rpc.Status, with a message short enough for the trailers.

    The message is shorter than errors.MESSAGE_BYTES_MAX where its escapes and the details need more than their share
    of TRAILERS_BYTES_MAX.
    """
    whole = to_status(error)
    while whole.message and _size(_trailers(whole)) > TRAILERS_BYTES_MAX:
        whole.message = errors.cut(whole.message, len(whole.message.encode()) * 3 // 4)
    return whole


def trailers(error: errors.FlyteError) -> Headers:
    """Return grpc-status, grpc-message and, for an error with details, grpc-status-details-bin."""
    return _trailers(status(error))


def _trailers(whole: status_pb2.Status) -> Headers:
    fields = [(b"grpc-status", str(whole.code).encode())]
    if whole.message:
        fields.append((b"grpc-message", _escaped(whole.message)))
    if whole.details:
        fields.append((b"grpc-status-details-bin", base64.b64encode(whole.SerializeToString()).rstrip(b"=")))
    return fields


def _quote(value: bytes) -> str:
    return go_quote(value.decode("utf-8", "surrogateescape"))


def _size(fields: Headers) -> int:
    return sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in fields)


def _escaped(message: str) -> bytes:
    escaped = quote(message, safe=_UNESCAPED, errors="replace")
    if escaped != escaped.strip(" "):
        # HTTP/2 forbids a space at either end of a header's value.
        escaped = escaped.replace(" ", "%20")
    return escaped.encode()
