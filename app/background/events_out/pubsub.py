"""Publishes at a topic of Google Cloud Pub/Sub: the bytes of the message, its key as the attribute `key`.

Source: github.com/NYTimes/gizmo/pubsub/gcp, which upstream publishes with.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc

from app.background.events_out.publisher import TIMEOUT_SECONDS, Message, library, required
from app.background.outbox.targets import Away, MessageRefused, TryAgain

# Google's own clients read this variable: the address of a server for tests, which has neither TLS nor credentials.
_EMULATOR = "PUBSUB_EMULATOR_HOST"


class PubSubPublisher:
    """The publisher of the type `gcp`.

    Args:
        topic: The topic, or its whole name projects/PROJECT/topics/TOPIC.
        project: The project.
        section: The name of the section of settings, for messages.

    Raises:
        BadSetting: The extra is not installed, or a setting is missing.
    """

    def __init__(self, topic: str, project: str, section: str) -> None:
        required(topic, f"{section}.eventsPublisher.topicName", "flyte-events")
        if "/" not in topic:
            required(project, f"{section}.gcp.projectId", "my-project")
        extra = {"extra": "gcp", "setting": f"{section}.type=gcp"}
        self._pubsub = library("google.pubsub_v1", **extra)
        self._transports = library("google.pubsub_v1.services.publisher.transports", **extra)
        self._exceptions = library("google.api_core.exceptions", **extra)
        self._auth_exceptions = library("google.auth.exceptions", **extra)
        self._topic = topic if "/" in topic else f"projects/{project}/topics/{topic}"
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Connect later, with the first message or look."""

    async def check(self) -> str:
        """Ask for the topic. A user may publish without the right to read it."""
        try:
            client = await self._connected()
            await client.get_topic(topic=self._topic, retry=None, timeout=TIMEOUT_SECONDS)
        except Away as error:
            return str(error)
        except self._exceptions.PermissionDenied:
            return ""
        except (self._exceptions.GoogleAPICallError, self._auth_exceptions.GoogleAuthError) as error:
            return f"{self._topic}: {error}"
        return ""

    async def publish(self, message: Message) -> str:
        """Send a message; return Pub/Sub's id of it."""
        client = await self._connected()
        one = self._pubsub.PubsubMessage(
            data=message.body,
            attributes={"key": message.key},
            # Subscriptions that keep an order deliver the events of an execution in order; others ignore it.
            ordering_key=message.order,
        )
        found = self._exceptions
        try:
            reply = await client.publish(topic=self._topic, messages=[one], retry=None, timeout=TIMEOUT_SECONDS)
        except (found.InvalidArgument, found.OutOfRange) as error:
            raise MessageRefused(f"{self._topic}: {error}") from error
        except (found.ResourceExhausted, found.Aborted, found.Cancelled, found.Unknown) as error:
            raise TryAgain(f"{self._topic}: {error}") from error
        except (found.InternalServerError, found.DeadlineExceeded) as error:
            raise TryAgain(f"{self._topic}: {error}") from error
        except (found.GoogleAPICallError, self._auth_exceptions.GoogleAuthError) as error:
            raise Away(f"{self._topic}: {error}") from error
        return f"message {reply.message_ids[0]}"

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.transport.close()

    async def _connected(self) -> Any:
        """Return the client. Raises Away where there are no credentials."""
        async with self._connecting:
            if self._client is None:
                try:
                    # Credentials may come from a metadata server, for which Google's library blocks.
                    transport = await asyncio.to_thread(self._credentials)
                except self._auth_exceptions.GoogleAuthError as error:
                    raise Away(f"no credentials of Google Cloud: {error}") from error
                self._client = self._make(transport)
            return self._client

    def _credentials(self) -> Any:
        if os.environ.get(_EMULATOR):
            return None
        scopes = self._transports.PublisherGrpcAsyncIOTransport.AUTH_SCOPES
        credentials, _ = library("google.auth", extra="gcp", setting="gcp").default(scopes=scopes)
        return credentials

    def _make(self, credentials: Any) -> Any:
        transport = self._transports.PublisherGrpcAsyncIOTransport
        if credentials is None:
            channel = grpc.aio.insecure_channel(os.environ[_EMULATOR])
            return self._pubsub.PublisherAsyncClient(transport=transport(channel=channel))
        return self._pubsub.PublisherAsyncClient(transport=transport(credentials=credentials))
