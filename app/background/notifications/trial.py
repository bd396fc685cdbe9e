"""Send a message that only tests the way to a recipient."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from app import errors
from app.background.notifications.mail import MailTarget
from app.background.notifications.notice import trial_notice
from app.background.notifications.webhooks import WebhookTarget
from app.background.outbox.service import Outbox
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.services.notifications import MAIL, NO_TRANSPORT, WEBHOOK, is_webhook, target_of
from app.settings import Settings


async def send_trial(settings: Settings, outbox: Outbox, address: str) -> dict[str, Any]:
    """Send a test message at once, without the outbox.

    Returns:
        Whether it was delivered, the reply, the reason, and the conversation with the receiver.

    Raises:
        FailedPrecondition: The settings name no way to send e-mail.
    """
    target = outbox.target(WEBHOOK if is_webhook(address) else MAIL)
    if not isinstance(target, (MailTarget, WebhookTarget)):
        if target_of(address, settings) != MAIL:
            raise errors.FailedPrecondition("e-mails are published at a topic; test where the queue is read")
        raise errors.FailedPrecondition(NO_TRANSPORT)
    conversation: list[str] = []
    try:
        reply = await target.send_trial(
            trial_notice(address, settings), secrets.token_hex(16), datetime.now(UTC), conversation
        )
    except (Away, MessageRefused, TryAgain) as error:
        return {"delivered": False, "reply": "", "reason": str(error), "conversation": conversation}
    return {"delivered": True, "reply": reply, "reason": "", "conversation": conversation}
