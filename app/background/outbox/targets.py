"""The interface between the outbox and those that send its messages: `Target` and `Delivery`.

How a message leaves:

1. A writer calls `app.services.outbox.put(ctx, target="mail", kind=…, execution=…, content=…)` in the transaction of an
   event. For every event: implement `EventWriter` (app/runtime/outgoing.py) and append it to `server.outgoing.writers`
   in `app.main`.
2. The commit wakes the outbox (service.py), which claims due messages by leases: at most CLAIMED_MAX for each target.
3. The outbox calls `target.deliver(delivery)`, for at most `outbox.deliveriesMax` messages at the same time.
   - It returns: the receiver has the message. The returned text is kept as the reply.
   - `MessageRefused`: the receiver will never take it. The message is kept as failed, with the reason.
   - `Ended`: the receiver takes no further message either; the reason is shown with the target.
   - `TryAgain`: the message is tried again by the target's `Backoff`, or after the time that the receiver asks for.
     It fails after `Backoff.attempts` attempts, or at the age `outbox.undeliveredSeconds`.
   - `Away`: no message can be delivered now, such as without a connection. The whole target waits, up to
     AWAY_SECONDS_MAX; it does not count as an attempt.
   - Any other exception is logged and treated as `TryAgain`.
4. A target with `ordered` receives the messages of an execution in the order of their ids, each after the one before
   was delivered or has failed for good. Other messages are in no order.

A process that is killed between a delivery and its record delivers the message again: `Delivery.delivery_id` and
`content` are then the same as before.

Names of targets stand in TARGETS, because metrics have fixed names. To add a target: a name there, a class with this
interface, and its place in `app/background/outbox/build.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.runtime.metrics import TARGETS

__all__ = ["TARGETS", "Away", "Backoff", "Delivery", "Ended", "MessageRefused", "Target", "TryAgain"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to deliver.

    Attributes:
        delivery_id: The same at each attempt; receivers recognise repeated messages by it.
        kind: The kind of message, as its writer chose it.
        execution: Project, domain and name.
        recipient: The receiver as lists show it.
        content: As its writer chose it.
        created_at: The time of the event.
        attempts: Attempts before this one.
        processes: The number of processes that deliver messages, for limits that they share.
    """

    id: int
    delivery_id: str
    target: str
    kind: str
    execution: tuple[str, str, str]
    recipient: str
    content: bytes
    created_at: datetime
    attempts: int
    processes: int = 1


class MessageRefused(Exception):
    """The receiver will never take the message; the text is the reason, without secrets."""


class Ended(MessageRefused):
    """The receiver wants no further message; the target refuses them all until the process is started again."""


class TryAgain(Exception):
    """The receiver may take the message later; the text is the reason, without secrets.

    Attributes:
        after_seconds: The time that the receiver asks for, None for that of the backoff.
        counts: Whether this was an attempt. A rate limit of our own is none.
    """

    def __init__(self, reason: str, *, after_seconds: float | None = None, counts: bool = True) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.counts = counts


class Away(Exception):
    """The target cannot deliver anything now; the text is the reason, without secrets."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Times between attempts.

    Attributes:
        first_seconds: The time after the first failed attempt; it doubles with each further one.
        most_seconds: The largest time.
        attempts: The number of attempts after which a message fails; None for no limit but its age.
    """

    first_seconds: float
    most_seconds: float
    attempts: int | None = None

    def seconds(self, attempts: int) -> float:
        """Return the time until the next attempt, after so many failed ones."""
        return float(min(self.most_seconds, self.first_seconds * 2 ** min(max(attempts - 1, 0), 30)))


class Target(Protocol):
    """Sends the messages of one name.

    Attributes:
        name: One of TARGETS.
        ordered: Whether the messages of an execution are delivered one after the other.
        backoff: The times between attempts.
    """

    name: str
    ordered: bool
    backoff: Backoff

    async def open(self) -> None:
        """Make what deliveries need. The process does not start where this raises: only for unusable settings."""

    async def check(self) -> str:
        """Try the receiver, without a message. Return "" or why it cannot be used, in one line without secrets.

        Called at the start and while the target is away. A reason is logged and shown; the process stays ready.
        """

    async def deliver(self, delivery: Delivery) -> str:
        """Send a message and return the receiver's reply.

        Raises:
            MessageRefused: The receiver will never take it.
            TryAgain: The receiver may take it later.
            Away: Nothing can be delivered now.
        """

    async def close(self) -> None:
        """Close connections."""


def by_name(targets: Sequence[Target]) -> dict[str, Target]:
    """Return targets by name. Raises ValueError for an unknown or repeated name."""
    found = {target.name: target for target in targets}
    if len(found) != len(targets) or not set(found) <= set(TARGETS):
        raise ValueError(f"names of targets must be different ones of {', '.join(TARGETS)}")
    return found
