"""The targets and writers of this installation: what the settings ask for."""

from __future__ import annotations

from app.background.events_out import build as events_out
from app.background.notifications import build as notifications
from app.background.outbox.service import Outbox
from app.background.outbox.targets import Target
from app.runtime.dispatch import Server


def outbox_of(server: Server) -> Outbox:
    """Return the outbox of a process with the targets of its settings, and append their writers to the server's.

    Raises:
        BadSetting: A setting cannot be used, or an extra of this package is not installed.
    """
    targets: list[Target] = [*notifications.targets_of(server), *events_out.targets_of(server)]
    outbox = Outbox(server, targets)
    server.outgoing.wake = outbox.wake
    server.health.degraded = outbox.problems
    return outbox
