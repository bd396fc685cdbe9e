"""Requests to receivers: which addresses they reach, their limits, and their signatures."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.background import http_out
from app.background.http_out import ForbiddenAddress, HttpOut, Unreachable, Unusable, is_allowed, networks
from app.settings import BadSetting

LOOPBACK = ("127.0.0.0/8", "::1")
Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[int]:
    """Serve connections on a free port of loopback: the handler gets the head of each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answer(head: str, body: bytes = b"") -> Handler:
    async def handle(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + b"\r\n\r\n" + body)

    return handle


def post(port: int, *, host: str = "127.0.0.1", allowed: tuple[str, ...] = LOOPBACK, seconds: float = 5.0) -> Any:
    async def send() -> http_out.ReceiverReply:
        http = HttpOut(allowed, timeout_seconds=seconds)
        try:
            return await http.post(f"http://{host}:{port}/hook?a=b", headers={"x-one": "1"}, body=b"{}")
        finally:
            await http.close()

    return send()


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b:1::7f00:1", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("192.0.0.8", False),
        ("192.88.99.1", False),
        ("no address", False),
    ],
)
def test_only_public_addresses_may_be_connected_to(address: str, allowed: bool) -> None:
    assert is_allowed(address, ()) is allowed


def test_a_listed_network_may_be_connected_to() -> None:
    assert is_allowed("10.1.2.3", networks(["10.1.0.0/16"]))
    assert not is_allowed("10.2.2.3", networks(["10.1.0.0/16"]))
    assert is_allowed("::ffff:10.1.2.3", networks(["10.1.0.0/16"]))
    with pytest.raises(BadSetting, match="allowedNetworks"):
        networks(["10.1.0.0/33"])


def test_a_request_and_its_reply() -> None:
    seen: list[bytes] = []

    async def handle(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(head + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\nslow\ndown")

    async def scenario() -> None:
        async with receiver(handle) as port:
            reply = await post(port)
        assert (reply.status, reply.retry_after_seconds, reply.text) == (429, 7.0, "slow down")
        head, _, body = seen[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
        assert f"host: 127.0.0.1:{port}".encode() in head.lower()
        assert b"x-one: 1" in head
        assert body == b"{}"

    asyncio.run(scenario())


def test_a_private_receiver_is_refused_before_a_byte_is_sent() -> None:
    async def handle(*_: Any) -> None:
        pytest.fail("the receiver was connected to")

    async def scenario() -> None:
        async with receiver(handle) as port:
            for host in ("127.0.0.1", "localhost"):
                with pytest.raises(ForbiddenAddress, match="allowedNetworks"):
                    await post(port, host=host, allowed=())

    asyncio.run(scenario())


def test_a_name_with_another_address_the_second_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to: a name is resolved once for a connection."""
    asked = []

    def resolve(host: str, port: int) -> Any:
        asked.append(host)
        address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def scenario() -> None:
        monkeypatch.setattr(http_out, "_resolve", resolve)
        async with receiver(answer("HTTP/1.1 200 OK\r\ncontent-length: 0")) as port:
            http = HttpOut(["192.0.2.0/24"], timeout_seconds=1.0)
            with pytest.raises(Unreachable):
                await http.post(f"http://receiver.test:{port}/", headers={}, body=b"")
            assert asked == ["receiver.test"]
            with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.1"):
                await http.post(f"http://receiver.test:{port}/", headers={}, body=b"")
            await http.close()

    asyncio.run(scenario())


def test_the_address_of_the_connected_socket_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with receiver(answer("HTTP/1.1 200 OK\r\ncontent-length: 0")) as port:
            checked: list[str] = []

            def first_only(address: str, _: Any) -> bool:
                checked.append(address)
                return len(checked) == 1

            monkeypatch.setattr(http_out, "is_allowed", first_only)
            with pytest.raises(ForbiddenAddress):
                await post(port)
            assert checked == ["127.0.0.1", "127.0.0.1"]

    asyncio.run(scenario())


def test_an_endless_reply_is_not_read_to_its_end() -> None:
    sent = 0

    async def handle(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async def scenario() -> None:
        async with receiver(handle) as port:
            reply = await post(port)
        assert reply.status == 200
        assert len(reply.text) == http_out.SHOWN_MAX

    asyncio.run(scenario())
    assert sent < 20_000_000


def test_a_slow_reply_ends_at_the_time_limit() -> None:
    async def handle(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _number in range(50):
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def scenario() -> None:
        async with receiver(handle) as port:
            with pytest.raises(Unreachable, match=r"no reply within 0\.3 s"):
                await post(port, seconds=0.3)

    asyncio.run(scenario())


def test_a_redirect_is_not_followed() -> None:
    async def scenario() -> None:
        head = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0"
        async with receiver(answer(head)) as port:
            assert (await post(port)).status == 302

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.test/",
        "http://",
        "no address",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://[::1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nx-other: 1",
        "http://127.0.0.1\t/",
        "http://127.0.0.1\\@x.test/",
        "http://hooks.sl\u0430ck.com/",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    async def scenario() -> None:
        http = HttpOut(LOOPBACK)
        with pytest.raises(Unusable):
            await http.post(url, headers={}, body=b"")
        with pytest.raises(Unusable):
            await http.reach(url)
        await http.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"])
def test_other_spellings_of_a_private_address_are_refused(host: str) -> None:
    with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.1"):
        asyncio.run(post(80, host=host, allowed=()))


def test_a_reply_that_a_terminal_would_obey_is_shown_as_text() -> None:
    async def scenario() -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-length: 14"
        async with receiver(answer(head, b"\x1b[2Jgone\0\xff\r\nx\x07")) as port:
            assert (await post(port)).text == "[2Jgone \ufffd x"

    asyncio.run(scenario())


@pytest.mark.heavy
def test_endless_headers_end_the_request() -> None:
    async def handle(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            writer.write(b"x-%d: y\r\n" % number)
            await writer.drain()

    async def scenario() -> None:
        async with receiver(handle) as port:
            with pytest.raises(Unreachable):
                await post(port)

    asyncio.run(scenario())


def test_names_without_an_answer_leave_the_threads_of_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def resolve(*_: Any) -> Any:
        answered.wait(10)
        raise OSError("no answer")

    monkeypatch.setattr(http_out, "_resolve", resolve)

    async def scenario() -> None:
        http = HttpOut(LOOPBACK, timeout_seconds=5.0, connections_max=64)
        hooks = (http.post(f"http://a{number}.test/", headers={}, body=b"") for number in range(64))
        requests = [asyncio.create_task(hook) for hook in hooks]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2.0):
            assert await asyncio.to_thread(lambda: "read") == "read"
        answered.set()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unreachable}
        await http.close()

    asyncio.run(scenario())


def test_no_listener_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable):
        asyncio.run(post(port))


def test_dates_of_retry_after_are_read() -> None:
    later = datetime.now(UTC) + timedelta(seconds=90)
    seconds = http_out._retry_after(later.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    assert seconds is not None
    assert 85 < seconds <= 90
    assert http_out._retry_after("soon") is None
    assert http_out._retry_after("9" * 400) == http_out.RETRY_AFTER_SECONDS_MAX
    assert http_out._retry_after("Fri, 31 Dec 9999 23:59:59 GMT") == http_out.RETRY_AFTER_SECONDS_MAX
    assert http_out._retry_after("Fri, 31 Dec 9999 23:59:59 +99999999999999999999") is None


SECRET = "whsec_" + base64.b64encode(b"a" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"b" * 32).decode()


def test_signatures_are_accepted_by_the_reference_library() -> None:
    body = json.dumps({"a": "ü"}).encode()
    keys = [http_out.signing_key(SECRET), http_out.signing_key(OTHER)]
    headers = http_out.signature_headers(keys, id="m1", now=datetime.now(UTC), body=body)
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers) == {"a": "ü"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    third = "whsec_" + base64.b64encode(b"c" * 32).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(third).verify(body, headers)
    old = http_out.signature_headers(keys, id="m1", now=datetime.now(UTC) - timedelta(minutes=6), body=body)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, old)


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!!!", "whsec_" + base64.b64encode(b"short").decode()])
def test_a_secret_of_another_form_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and base64") as caught:
        http_out.signing_key(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)
