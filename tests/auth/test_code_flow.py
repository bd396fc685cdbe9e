"""Replies of the provider to requests of the browser login: their limits in time, size and form."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import Mapping
from typing import Any

import pytest

from app.auth.code_flow import CodeFlow
from app.auth.id_tokens import IdTokens
from app.auth.provider import OpenIdProvider
from app.auth.provider_client import ProviderClient
from app.auth.sessions import ProviderUnavailable
from tests.support.tokens import auth_settings

DRIPS = None
HEAD = b"HTTP/1.1 200 OK\r\n"


class Document:
    """The document of a provider at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def document(self) -> Mapping[str, Any]:
        return {"issuer": self._url, "userinfo_endpoint": self._url, "token_endpoint": self._url}


async def answer(reply: bytes | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a reply, and wait until the client disconnects; DRIPS is one whose bytes come one by one and never end."""
    with contextlib.suppress(ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"content-length: 1000\r\n\r\n" if reply is DRIPS else reply)
        while reply is DRIPS:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write_eof()
        await reader.read()
    writer.transport.abort()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (DRIPS, r"no whole reply within 0\.3 s"),
        (HEAD + b"\r\n" + b" " * 70_000, "larger than 65536 bytes"),
        (HEAD + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b" " * 10**6), "is compressed"),
        (b"HTTP/1.1 503 Down\r\n\r\n", "has the status 503"),
        (b"junk", r'(Get|Post) "http://127'),
    ],
)
@pytest.mark.parametrize("request_of", ["user_info", "refresh"])
def test_a_reply_without_end_size_or_sense_means_that_the_provider_does_not_answer(
    request_of: str, reply: bytes | None, problem: str
) -> None:
    async def scenario() -> None:
        handlers: list[asyncio.Task[None]] = []

        def accept(*streams: Any) -> None:
            handlers.append(asyncio.create_task(answer(reply, *streams)))

        serving = await asyncio.start_server(accept, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{serving.sockets[0].getsockname()[1]}"
        settings = auth_settings(provider_timeout_seconds=0.3, provider_document_bytes_max=65536)
        client, provider = ProviderClient(settings.auth, ""), OpenIdProvider(settings)
        flow = CodeFlow(settings, client, Document(url), IdTokens(settings, provider), "secret")
        try:
            with pytest.raises(ProviderUnavailable, match=problem):
                await (flow.user_info("token", "ada") if request_of == "user_info" else flow.refresh("token"))
        finally:
            await client.close()
            await provider.close()
            serving.close()
            await asyncio.wait(handlers, timeout=30)

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 20
