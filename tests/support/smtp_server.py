"""An SMTP server (aiosmtpd) on a free port of loopback, in the test's event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@dataclass
class MailBox:
    """What the server received.

    Attributes:
        replies: The replies to RCPT by recipient, or to DATA with the key `data`; the rest is accepted.
        senders: The return paths of accepted messages.
        peers: The sessions of accepted messages.
        delay: Seconds before the reply to DATA.
    """

    port: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    sessions: set[int] = field(default_factory=set)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if reply := self.replies.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(self.delay)
        if reply := self.replies.get("data"):
            return reply
        self.messages.append(cast(EmailMessage, message_from_bytes(envelope.content, policy=policy.default)))
        self.recipients += envelope.rcpt_tos
        self.senders.append(envelope.mail_from or "")
        self.sessions.add(id(session))
        self.encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return "250 queued"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.logins[-1] == ("flyte", "right"), handled=False)


@asynccontextmanager
async def smtp_server(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, port: int = 0, **options: Any
) -> AsyncIterator[MailBox]:
    """Yield the box of a server that listens. tls: for STARTTLS, or with `implicit` from the first byte."""
    box = MailBox()
    loop = asyncio.get_running_loop()

    def serve() -> SMTP:
        return SMTP(
            box,
            loop=loop,
            hostname="mail.test",
            tls_context=None if implicit else tls,
            authenticator=box.authenticate,
            **options,
        )

    server = await loop.create_server(serve, "127.0.0.1", port, ssl=tls if implicit else None)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
