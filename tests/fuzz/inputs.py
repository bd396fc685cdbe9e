"""What the fuzzer sends: one function per kind in KINDS. Each returns the bytes of one connection."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import zttp
from google.protobuf.message import EncodeError

from app.api import routers
from app.api.grpc.protocol import frame
from app.runtime.rows import VARIABLE, Binding, Rpc
from app.wire.render import to_json
from tests.wire.messages import filled

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Project, domain and names that exist, so that some requests get past the first checks.
KNOWN = ("flytesnacks", "development", "fuzz", "v1")
ODD = (
    *("", ".", "..", "%00", "%2F", "%2f..%2f", "%ff%fe", "%", "%zz", "é".encode(), b"\xff\x80", "a" * 300, "a" * 5000),
    *("0", "-1", "9" * 40, "1e9", "null", "true", "*", "a,b", "a+b", "a b", "\\", '"', "'", ";--", "{}", "[]", "\x7f"),
)
FIELDS = ("project", "domain", "name", "version", "phase", "created_at", "id", "execution.name", "duration", "x", "")
FUNCTIONS = ("eq", "ne", "gt", "gte", "lt", "lte", "contains", "value_in", "x", "")
HEADERS = (
    *("Accept", "Content-Type", "Origin", "Host", "Range", "Cookie", "Authorization", "Grpc-Timeout", "X-Request-Id"),
    *("X-Http-Method-Override", "TE", "Expect", "Upgrade", "Connection", "If-Range", "Access-Control-Request-Method"),
    *("Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-MD5", "Sec-Fetch-Site", "X-Forwarded-Host"),
)
VALUES = (
    *(
        "",
        "*",
        "application/json",
        "application/octet-stream",
        "application/grpc",
        "application/grpc-web+proto",
        "null",
    ),
    *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "http://evil.example", "localhost", "1S"),
    *("bytes=0-", "bytes=-5", "bytes=9-1", "chunked", "gzip, chunked", "100-continue", "h2c", "close", "Upgrade"),
    *(
        "DELETE",
        "PUT",
        "99999999H",
        "-1S",
        "1X",
        "0",
        "-5",
        "999999999999999999999",
        "a" * 8000,
        "\xff\xfe",
        "trailers",
    ),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "X")
PAGES = (
    *("/storage/", "/logs/", "/openapi.json", "/docs", "/docs/assets/", "/api/v1/openapi", "/", "//", "/healthcheck"),
    *("/api/", "/api/v1", "/api/v1/data/", "/config", "/metrics", "/me", "*", "http://localhost/api/v1/projects"),
)


@dataclass(frozen=True, slots=True)
class Input:
    """The bytes of one connection. client: reads the replies to HTTP/2 requests, None for HTTP/1.1."""

    data: bytes
    client: zttp.H2Connection | None = None


def _odd(rng: random.Random) -> bytes:
    value = rng.choice(ODD) if rng.random() < 0.8 else rng.randbytes(rng.randint(1, 20))
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _word(rng: random.Random) -> bytes:
    return rng.choice(KNOWN).encode() if rng.random() < 0.6 else _odd(rng)


def _binding(rng: random.Random, *, body: bool | None = None) -> tuple[Rpc, Binding]:
    chosen = [(rpc, one) for rpc in routers.ALL for one in rpc.bindings if body is None or one.body == body]
    return rng.choice(chosen)


def _path(rng: random.Random, template: str) -> bytes:
    if rng.random() < 0.1:
        return rng.choice(PAGES).encode() + b"/".join(_odd(rng) for _ in range(rng.randint(0, 4)))
    return VARIABLE.sub(lambda _: _word(rng).decode("latin-1"), template).encode("latin-1")


def _http1(method: str, target: bytes, headers: list[tuple[str, str]], body: bytes = b"") -> bytes:
    fields = [("Host", "localhost"), ("Connection", "close"), *headers]
    if body:
        fields.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    # Spaces and line ends would only make every other input a malformed request line.
    clean = target.replace(b" ", b"%20").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), clean, head, body)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, left out, repeated or cut off."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(5):
            case 0:
                raw[at : at + 1] = rng.randbytes(1)
            case 1:
                del raw[at : at + rng.choice((1, 4, 50))]
            case 2:
                raw[at:at] = raw[at : at + rng.choice((1, 10, 200))] * rng.choice((1, 3))
            case 3:
                raw[at:at] = _odd(rng)
            case 4:
                del raw[at if rng.random() < 0.2 else len(raw) :]
    return bytes(raw)


def address(rng: random.Random) -> Input:
    """A path of the API with odd segments."""
    _, binding = _binding(rng)
    return Input(_http1(binding.verb if rng.random() < 0.8 else rng.choice(METHODS), _path(rng, binding.template), []))


def page(rng: random.Random) -> Input:
    """An address of documents, storage or logs."""
    rest = b"/".join(quote_from_bytes(_word(rng)).encode() for _ in range(rng.randint(0, 6)))
    names = ("X-Flyte-Signature", "X-Flyte-Expires", "tail", "index", "retry", "x")
    query = urlencode([(rng.choice(names), _odd(rng)) for _ in range(rng.randint(0, 3))]).encode()
    headers = [("Range", rng.choice(VALUES))] if rng.random() < 0.3 else []
    return Input(_http1(rng.choice(METHODS), rng.choice(PAGES).encode() + rest + b"?" + query, headers))


def query(rng: random.Random) -> Input:
    """A list with filters, sorting, limits and tokens."""
    _, binding = _binding(rng, body=False)
    expressions = b"+".join(
        b"%b(%b,%b)" % (rng.choice(FUNCTIONS).encode(), rng.choice(FIELDS).encode(), _word(rng))
        for _ in range(rng.choice((1, 1, 2, 8)))
    )
    if rng.random() < 0.3:
        expressions = mutated(rng, expressions)
    pairs = [(b"filters", expressions)]
    for name in ("limit", "token", "sort_by.key", "sort_by.direction", "id.project", "filters", "x.y.z"):
        if rng.random() < 0.3:
            pairs.append((name.encode(), _odd(rng) if rng.random() < 0.6 else rng.choice(FIELDS).encode()))
    target = VARIABLE.sub(lambda _: rng.choice(KNOWN), binding.template).encode()
    return Input(_http1("GET", target + b"?" + urlencode(pairs).encode(), []))


def header(rng: random.Random) -> Input:
    """A request with odd headers."""
    _, binding = _binding(rng)
    fields = [(rng.choice(HEADERS), rng.choice(VALUES)) for _ in range(rng.choice((1, 2, 5, 120)))]
    target = VARIABLE.sub(lambda _: rng.choice(KNOWN), binding.template).encode()
    return Input(_http1(rng.choice(METHODS), target, fields, b"{}" if rng.random() < 0.3 else b""))


def json_body(rng: random.Random) -> Input:
    """A random message as JSON, often damaged."""
    rpc, binding = _binding(rng, body=True)
    try:
        body = to_json(filled(rpc.request.DESCRIPTOR, rng), camel=rng.random() < 0.5)
    except (EncodeError, ValueError):
        body = b"{}"
    if rng.random() < 0.1:
        body = rng.choice(
            (
                b"[" * 50_000,
                b'{"a":' * 10_000,
                b'{"id":1e999999}',
                b"\xff",
                b"null",
                b'{"id":{"resource_type":"\\ud800"}}',
                b'"',
                b"[]",
            )
        )
    if rng.random() < 0.5:
        body = mutated(rng, body)
    return Input(_http1(binding.verb, _path(rng, binding.template), [("Content-Type", "application/json")], body))


def protobuf_body(rng: random.Random) -> Input:
    """A random message as protobuf, often damaged."""
    rpc, binding = _binding(rng, body=True)
    body = filled(rpc.request.DESCRIPTOR, rng).SerializeToString()
    if rng.random() < 0.5:
        body = mutated(rng, body)
    headers = [("Content-Type", "application/octet-stream")]
    return Input(_http1(binding.verb, _path(rng, binding.template), headers, body))


def http1_bytes(rng: random.Random) -> Input:
    """One or several HTTP/1.1 requests with damaged bytes."""
    seeds = (
        b"GET /api/v1/projects HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        b"PUT /storage/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    return Input(mutated(rng, b"".join(rng.choice(seeds) for _ in range(rng.choice((1, 1, 3))))))


def _frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


def http2_frames(rng: random.Random) -> Input:
    """Frames of random kinds, flags, streams and content."""
    path = b"/api/v1/projects"
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x09localhost"
    frames = [_frame(4, 0, 0, struct.pack(">HI", rng.choice((1, 2, 3, 4, 5, 6, 99)), rng.choice((0, 1, 100, 2**31))))]
    for _ in range(rng.randint(1, 30)):
        kind = rng.choice((0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x42))
        data = rng.choice((block, mutated(rng, block), rng.randbytes(rng.choice((0, 4, 5, 6, 8, 100)))))
        frames.append(_frame(kind, rng.choice((0, 1, 4, 5, 8, 0x20, 0xFF)), rng.choice((0, 1, 2, 3, 5, 7, 99)), data))
    raw = PREFACE + b"".join(frames)
    return Input(mutated(rng, raw) if rng.random() < 0.2 else raw)


def grpc_call(rng: random.Random) -> Input:
    """A gRPC call with a random message, odd metadata and, often, damaged bytes."""
    client: Any = zttp.Connection(zttp.CLIENT, protocol=zttp.HTTP2)
    client.initiate_connection()
    rpc = rng.choice(routers.ALL)
    message = filled(rpc.request.DESCRIPTOR, rng).SerializeToString()
    if rng.random() < 0.4:
        message = mutated(rng, message)
    body = frame(message)
    if rng.random() < 0.3:
        body = mutated(rng, body)
    path = rpc.path if rng.random() < 0.9 else rng.choice(("/", "//", "/x/y", "/grpc.health.v1.Health/Watch"))
    fields = [(b"host", b"localhost"), (b"te", b"trailers"), (b"content-type", b"application/grpc")]
    for name in (b"grpc-timeout", b"grpc-encoding", b"x-bin", b"grpc-accept-encoding", b"x-request-id"):
        if rng.random() < 0.1:
            fields.append((name, rng.choice((b"1S", b"1n", b"x", b"gzip", b"", b"%%%", b"99999999H"))))
    stream = client.send_request(b"POST", path.encode(), b"2", fields)
    stream.send_data(body[:60_000])
    stream.end_message()
    raw = client.data_to_send()
    if rng.random() < 0.2:
        return Input(raw[:60] + mutated(rng, raw[60:]))
    return Input(raw, client)


KINDS: dict[str, Callable[[random.Random], Input]] = {
    "address": address,
    "page": page,
    "query": query,
    "header": header,
    "json body": json_body,
    "protobuf body": protobuf_body,
    "HTTP/1.1 bytes": http1_bytes,
    "HTTP/2 frames": http2_frames,
    "gRPC call": grpc_call,
}


def made(seed: int, number: int) -> tuple[str, Input]:
    """Input number of a run with this seed, and its kind: the same on every machine."""
    rng = random.Random(f"{seed}:{number}")
    kind = rng.choice(list(KINDS))
    return kind, KINDS[kind](rng)
