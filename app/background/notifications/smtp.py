"""Sends e-mails by SMTP, each to one recipient, over connections that are used again for a few seconds.

Source: flyteadmin/pkg/async/notifications/implementations/smtp_emailer.go.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from app.auth.provider_client import trusted
from app.auth.secrets_store import SecretNotFound, SecretsStore
from app.background.events_out.publisher import library
from app.background.notifications.mail import Mail
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting, Settings
from app.settings.hosts import is_loopback

# Time for a connection and for each reply.
TIMEOUT_SECONDS = 20.0
# Time for which an unused connection is used again. Servers close one after minutes.
IDLE_SECONDS = 10.0
IMPLICIT_TLS_PORT = 465
# Parity: upstream introduces itself by this name.
HELLO = "localhost"

_SECTION = "notifications.emailer.emailServerConfig"


class Smtp:
    """The mail service `smtp`.

    Args:
        settings: The settings.

    Raises:
        BadSetting: A setting is missing or unusable, or the extra is not installed.
    """

    name = "smtp"

    def __init__(self, settings: Settings) -> None:
        section = settings.notifications.emailer.email_server_config
        if not section.smtp_server:
            raise BadSetting(f"{_SECTION}.smtpServer is empty; serviceName=smtp needs it, such as smtp.example.com")
        port = section.smtp_port or (str(IMPLICIT_TLS_PORT) if section.smtp_tls == "implicit" else "25")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise BadSetting(f"{_SECTION}.smtpPort={port} is no port; allowed are 1 to 65535")
        self._library = library("aiosmtplib", extra="smtp", setting=f"{_SECTION}.serviceName=smtp")
        self._section = section
        self._port = int(port)
        self._implicit = section.smtp_tls == "implicit" or (section.smtp_tls == "auto" and port == "465")
        self._secrets = SecretsStore(settings)
        # Connections that are not in use, with the time from which they are not used again.
        self._idle: list[tuple[Any, float]] = []

    async def check(self) -> str:
        """Connect, negotiate TLS and sign in."""
        try:
            await self._put_back(await self._connect([]))
        except Away as error:
            return str(error)
        return ""

    async def send(self, mail: Mail) -> str:
        """Send an e-mail and return the server's reply to its content."""
        sender, message = mail.sender_address, mail.message()
        if not sender.isascii() or not mail.recipient.isascii():
            raise MessageRefused("addresses with letters outside ASCII are not supported")
        client = await self._client(mail.conversation)
        stage = "MAIL FROM"
        try:
            path = "" if self._section.smtp_null_return_path else sender
            await self._say(mail, f"MAIL FROM:<{path}>", client.mail(path))
            stage = "RCPT TO"
            await self._say(mail, f"RCPT TO:<{mail.recipient}>", client.rcpt(mail.recipient))
            stage = "DATA"
            reply = await self._say(mail, f"DATA ({len(message)} bytes)", client.data(message))
        except self._library.SMTPResponseException as error:
            mail.conversation.append(f"{error.code} {error.message}")
            await self._end_transaction(client)
            raise _failure(stage, error.code, error.message) from error
        except (self._library.SMTPException, OSError, ValueError) as error:
            client.close()
            raise TryAgain(f"{stage}: {_reason(error)}") from error
        except BaseException:
            client.close()
            raise
        await self._put_back(client)
        return reply

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            await _quit(self._idle.pop()[0])

    async def _say(self, mail: Mail, line: str, command: Any) -> str:
        mail.conversation.append(f"> {line}")
        code, text = await command
        reply = f"{code} {' '.join(str(text).split())}"
        mail.conversation.append(reply)
        return reply

    async def _client(self, conversation: list[str]) -> Any:
        """Return an idle connection that still works, or a new one."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            client, until = self._idle.pop()
            if now < until and client.is_connected:
                try:
                    await client.rset()
                    return client
                except (self._library.SMTPException, OSError):
                    client.close()
            else:
                await _quit(client)
        return await self._connect(conversation)

    async def _put_back(self, client: Any) -> None:
        if client.is_connected:
            self._idle.append((client, asyncio.get_running_loop().time() + IDLE_SECONDS))

    async def _end_transaction(self, client: Any) -> None:
        """Make a connection usable after a refusal."""
        try:
            await client.rset()
        except (self._library.SMTPException, OSError):
            client.close()
        await self._put_back(client)

    async def _connect(self, conversation: list[str]) -> Any:
        """Connect, negotiate TLS and sign in. Raises Away with the reason."""
        section, server = self._section, f"{self._section.smtp_server}:{self._port}"
        client = self._library.SMTP(
            hostname=section.smtp_server,
            port=self._port,
            use_tls=self._implicit,
            start_tls=False,
            tls_context=self._tls() if self._implicit else None,
            local_hostname=HELLO,
            timeout=TIMEOUT_SECONDS,
        )
        try:
            code, text = await client.connect()
            conversation.append(f"{code} {text}")
            await client.ehlo()
            encrypted = self._implicit
            if not encrypted and section.smtp_tls != "off":
                encrypted = await self._start_tls(client, conversation)
            if section.smtp_username and client.supports_extension("auth"):
                await self._sign_in(client, encrypted, conversation)
        except (self._library.SMTPException, OSError, ValueError) as error:
            client.close()
            raise Away(f"SMTP server {server}: {_reason(error)}") from error
        except BaseException:
            client.close()
            raise
        return client

    async def _start_tls(self, client: Any, conversation: list[str]) -> bool:
        if not client.supports_extension("starttls"):
            if self._section.smtp_tls == "required":
                raise Away(f"SMTP server {self._section.smtp_server} offers no STARTTLS ({_SECTION}.smtpTls=required)")
            return False
        conversation.append("> STARTTLS")
        code, text = await client.starttls(tls_context=self._tls(), server_hostname=self._section.smtp_server)
        conversation.append(f"{code} {text}")
        await client.ehlo()
        return True

    async def _sign_in(self, client: Any, encrypted: bool, conversation: list[str]) -> None:
        """Sign in by AUTH. Like Go's client, send no password over a network without TLS."""
        section = self._section
        if not encrypted and not is_loopback(section.smtp_server):
            raise Away(f"SMTP server {section.smtp_server} offers no TLS: the password is not sent in clear text")
        conversation.append(f"> AUTH of {section.smtp_username}")
        code, text = await client.login(section.smtp_username, self._password())
        conversation.append(f"{code} {text}")

    def _password(self) -> str:
        """Return the password, which may have changed since the last connection; "" without one, as upstream."""
        name = self._section.smtp_password_secret_name
        try:
            return self._secrets.text(name).removesuffix("\n") if name else ""
        except SecretNotFound:
            return ""
        except BadSetting as error:
            raise Away(str(error)) from error

    def _tls(self) -> ssl.SSLContext:
        if not self._section.smtp_skip_tls_verify:
            return trusted()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def _failure(stage: str, code: int, message: str) -> Exception:
    reason = f"{stage}: {code} {' '.join(message.split())}"
    return MessageRefused(reason) if 500 <= code < 600 else TryAgain(reason)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def _quit(client: Any) -> None:
    """End a connection politely, and in any case."""
    try:
        async with asyncio.timeout(1.0):
            await client.quit()
    except Exception:  # noqa: BLE001 - the connection ends anyway
        client.close()
