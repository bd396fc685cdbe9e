"""Reads e-mails from a subscription of Google Cloud Pub/Sub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import grpc

from app.background.events_out.publisher import library
from app.background.notifications.queue import Received
from app.background.outbox.targets import Away
from app.settings import BadSetting, Settings

MESSAGES_MAX = 10
WAIT_SECONDS = 10.0
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_EXTRA = {"extra": "gcp", "setting": "notifications.type=gcp"}


class Subscription:
    """The queue of notifications.type=gcp.

    Args:
        settings: The settings.

    Raises:
        BadSetting: A setting is missing, or the extra is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        section = settings.notifications
        name = section.processor.queue_name
        if "/" not in name and not section.gcp.project_id:
            raise BadSetting("notifications.gcp.projectId is empty; notifications.processor.queueName needs it")
        self._pubsub = library("google.pubsub_v1", **_EXTRA)
        self._transports = library("google.pubsub_v1.services.subscriber.transports", **_EXTRA)
        self._errors = library("google.api_core.exceptions", **_EXTRA)
        self._auth_errors = library("google.auth.exceptions", **_EXTRA)
        self._auth = library("google.auth", **_EXTRA)
        self._name = name if "/" in name else f"projects/{section.gcp.project_id}/subscriptions/{name}"
        self._client: Any = None

    async def open(self) -> None:
        """Connect later, with the first messages."""

    async def receive(self) -> Sequence[Received]:
        """Wait for messages."""
        client = await self._connected()
        try:
            reply = await client.pull(
                subscription=self._name, max_messages=MESSAGES_MAX, retry=None, timeout=WAIT_SECONDS
            )
        except self._errors.DeadlineExceeded:
            return ()
        except (self._errors.GoogleAPICallError, self._auth_errors.GoogleAuthError) as error:
            raise Away(f"{self._name}: {error}") from error
        return [Received(one.message.message_id, one.ack_id, one.message.data) for one in reply.received_messages]

    async def delete(self, messages: Sequence[Received]) -> None:
        """Acknowledge messages."""
        client, ids = await self._connected(), [one.handle for one in messages]
        try:
            await client.acknowledge(subscription=self._name, ack_ids=ids, retry=None, timeout=WAIT_SECONDS)
        except (self._errors.GoogleAPICallError, self._auth_errors.GoogleAuthError) as error:
            raise Away(f"{self._name}: {error}") from error

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.transport.close()

    async def _connected(self) -> Any:
        """Return the client. Raises Away where there are no credentials."""
        if self._client is None:
            transport = self._transports.SubscriberGrpcAsyncIOTransport
            if address := os.environ.get(_EMULATOR):
                made = transport(channel=grpc.aio.insecure_channel(address))
            else:
                try:
                    # Credentials may come from a metadata server, for which Google's library blocks.
                    credentials, _ = await asyncio.to_thread(self._auth.default, scopes=transport.AUTH_SCOPES)
                except self._auth_errors.GoogleAuthError as error:
                    raise Away(f"no credentials of Google Cloud: {error}") from error
                made = transport(credentials=credentials)
            self._client = self._pubsub.SubscriberAsyncClient(transport=made)
        return self._client
