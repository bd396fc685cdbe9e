"""The interface of publishers, and the message that they publish."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from app.settings import BadSetting
from app.wire.cloud_events import CloudEvent

# Time for one attempt to publish, and for one look at a receiver, in seconds.
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        delivery_id: The same at each attempt to publish the message; other messages have other ids.
        key: The kind of event as upstream names it, such as flyteidl.admin.NodeExecutionEventRequest.
        order: project/domain/name of the execution.
        body: The bytes of the message where the receiver takes bytes.
        event: The CloudEvent; None for `externalEvents`.
    """

    delivery_id: str
    key: str
    order: str
    body: bytes
    event: CloudEvent | None = None


class Publisher(Protocol):
    """Publishes messages at one receiver.

    The exceptions are those of app/background/outbox/targets.py.
    """

    async def open(self) -> None:
        """Make what publishing needs, without a connection."""

    async def check(self) -> str:
        """Return "" or why the receiver cannot be used, in one line without secrets."""

    async def publish(self, message: Message) -> str:
        """Return the receiver's acknowledgement.

        Raises:
            MessageRefused: The receiver will never take the message.
            TryAgain: The receiver may take the message later.
            Away: Nothing can be published now.
        """

    async def close(self) -> None:
        """Close connections."""


def library(name: str, *, extra: str, setting: str) -> Any:
    """Return a module that an extra of this package installs.

    Raises:
        BadSetting: The module is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        advice = f"pip install 'flyteadmin[{extra}]'"
        raise BadSetting(f"{setting} needs the Python package of the extra {extra} ({error}); {advice}") from error


def required(value: Any, setting: str, example: str) -> None:
    """Raise BadSetting where a setting that a publisher needs is empty."""
    if not value:
        raise BadSetting(f"{setting} is empty; it is needed to publish events, such as {example}")
