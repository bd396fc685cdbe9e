"""Publishes CloudEvents at NATS, in structured mode, to subscribers or to a stream of JetStream.

Source: github.com/cloudevents/sdk-go/protocol/nats, and the factory of upstream's publishers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.background.events_out.publisher import TIMEOUT_SECONDS, Message, library, required
from app.background.outbox.targets import Away, MessageRefused
from app.settings import redact
from app.settings.events_out import Nats

_EXTRA = {"extra": "nats", "setting": "cloudEvents.type=nats"}


class NatsPublisher:
    """The publisher of `cloudEvents.type=nats`.

    Args:
        section: Servers and authentication.
        subject: The subject.

    Raises:
        BadSetting: The extra is not installed, or a setting is missing.
    """

    def __init__(self, section: Nats, subject: str) -> None:
        required(section.servers, "cloudEvents.nats.servers", "[nats://nats:4222]")
        required(subject, "cloudEvents.eventsPublisher.topicName", "flyte.events")
        self._nats = library("nats", **_EXTRA)
        self._errors = library("nats.errors", **_EXTRA)
        self._js_errors = library("nats.js.errors", **_EXTRA)
        self._section = section
        self._subject = subject
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._last_error = ""

    async def open(self) -> None:
        """Connect later, with the first message or look."""

    async def check(self) -> str:
        """Connect; with JetStream, look for a stream that takes the subject."""
        try:
            client = await self._connected()
            if self._section.jet_stream:
                await client.jetstream(timeout=TIMEOUT_SECONDS).find_stream_name_by_subject(self._subject)
        except Away as error:
            return str(error)
        except self._js_errors.NotFoundError:
            return f"no stream of JetStream takes the subject {self._subject}"
        except (self._errors.Error, TimeoutError, OSError) as error:
            return f"JetStream: {error or type(error).__name__}"
        return ""

    async def publish(self, message: Message) -> str:
        """Send a message and wait until a server, or a stream, has it."""
        assert message.event is not None
        client, body = await self._connected(), message.event.json()
        if len(body) > client.max_payload:
            raise MessageRefused(f"the message has {len(body)} bytes; the server takes at most {client.max_payload}")
        self._last_error = ""
        try:
            if self._section.jet_stream:
                # The id of the event would not do: upstream's ids repeat, and the stream would drop later events.
                headers = {"Nats-Msg-Id": message.delivery_id}
                stream = client.jetstream(timeout=TIMEOUT_SECONDS)
                stored = await stream.publish(self._subject, body, headers=headers)
                return f"stream {stored.stream}, sequence {stored.seq}"
            await client.publish(self._subject, body)
            await _flush(client)
        except self._js_errors.NoStreamResponseError as error:
            raise Away(f"no stream of JetStream takes the subject {self._subject}") from error
        except (self._errors.Error, TimeoutError, OSError) as error:
            await self._disconnect()
            raise Away(f"{type(error).__name__}: {self._last_error or error}") from error
        if self._last_error:
            # A server reports a subject that the user must not publish at before it answers the flush.
            raise Away(self._last_error)
        return "received by the server"

    async def close(self) -> None:
        """Close the connection."""
        await self._disconnect()

    async def _connected(self) -> Any:
        """Return the connection, a new one where there is none.

        Raises:
            Away: No server can be reached, or none accepts the user.
        """
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._client
            await self._disconnect()
            user, token = self._section.user_authentication, self._section.token_authentication
            options: dict[str, Any] = {}
            if token.enabled:
                options["token"] = token.token.get_secret_value()
            if user.enabled:
                options |= {"user": user.user, "password": user.password.get_secret_value()}
            self._last_error = ""
            self._client = self._nats.NATS()
            try:
                await self._client.connect(
                    list(self._section.servers),
                    name="flyteadmin",
                    # The outbox repeats what fails. A client that connects again by itself would keep messages.
                    allow_reconnect=False,
                    connect_timeout=int(TIMEOUT_SECONDS),
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0.1,
                    error_cb=self._on_error,
                    **options,
                )
            except (self._errors.Error, TimeoutError, OSError, ValueError) as error:
                await self._disconnect()
                servers = ", ".join(map(redact, self._section.servers))
                raise Away(f"{servers}: {self._last_error or error or type(error).__name__}") from error
            return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__


async def _flush(client: Any) -> None:
    """Wait until the server has received what was published before.

    The PING of the client's flush() overtakes messages that the client still holds, so the reply to a PING counts only
    when the client held none before it.

    Raises:
        TimeoutError: The server has not answered in time.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while client.pending_data_size:
            await client.flush(int(TIMEOUT_SECONDS))
        await client.flush(int(TIMEOUT_SECONDS))
    if not client.is_connected:
        raise TimeoutError("the connection ended")
