"""Makes the targets of notifications, and the reader of their queue, that the settings ask for."""

from __future__ import annotations

import structlog

from app.background.events_out.publisher import Publisher
from app.background.http_out import HttpOut
from app.background.notifications.mail import MailService, MailTarget
from app.background.notifications.queue import Queue, QueueReader, QueueTarget
from app.background.notifications.webhooks import WebhookTarget
from app.background.outbox.targets import Target
from app.runtime.dispatch import Server
from app.services.notifications import mail_service, publishes
from app.settings import BadSetting, Settings

# The networks of receivers that the operator chooses.
_EVERYWHERE = ("0.0.0.0/0", "::/0")

log = structlog.get_logger(__name__)


def targets_of(server: Server) -> list[Target]:
    """Return the targets of notifications. Webhooks need no setting: a recipient is one by its form.

    Raises:
        BadSetting: A setting is missing or unusable, or an extra is not installed.
    """
    settings = server.settings
    found: list[Target] = [WebhookTarget(settings)]
    if (service := _mail_service(settings)) is not None:
        if not settings.notifications.emailer.sender:
            raise BadSetting("notifications.emailer.sender is empty; e-mails need it, such as flyte@example.com")
        found.append(MailTarget(settings, service))
    if publishes(settings):
        found.append(QueueTarget(settings, _publisher(settings)))
    return found


def readers_of(server: Server) -> list[QueueReader]:
    """Return the service that reads the queue of the settings; none without a queue, or without a way to send mail.

    Raises:
        BadSetting: A setting is missing or unusable, or an extra is not installed.
    """
    settings, section = server.settings, server.settings.notifications
    if section.type not in ("aws", "gcp") or not section.processor.queue_name:
        return []
    if not mail_service(settings):
        log.warning("notification_queue_not_read", reason="notifications.emailer sends no e-mail")
        return []
    return [QueueReader(server, _queue(settings))]


def _mail_service(settings: Settings) -> MailService | None:
    # Only what is used is imported: some libraries take long.
    match mail_service(settings):
        case "":
            return None
        case "smtp":
            from app.background.notifications.smtp import Smtp

            return Smtp(settings)
        case "sendgrid":
            from app.background.notifications.sendgrid import SendGrid

            return SendGrid(settings, HttpOut(_EVERYWHERE))
        case "ses":
            from app.background.notifications.ses import Ses

            return Ses(settings)
        case unknown:
            raise BadSetting(
                f"notifications.emailer.emailServerConfig.serviceName={unknown} is not known; allowed: smtp, sendgrid"
            )


def _publisher(settings: Settings) -> Publisher:
    section = settings.notifications
    if section.type == "aws":
        from app.background.events_out.sns import SnsPublisher
        from app.background.notifications.ses import region_of

        region = region_of(section.aws) or section.region
        return SnsPublisher(section.publisher.topic_name, region, "notifications")
    from app.background.events_out.pubsub import PubSubPublisher

    return PubSubPublisher(section.publisher.topic_name, section.gcp.project_id, "notifications")


def _queue(settings: Settings) -> Queue:
    if settings.notifications.type == "aws":
        from app.background.notifications.sqs import Sqs

        return Sqs(settings)
    from app.background.notifications.subscription import Subscription

    return Subscription(settings)
