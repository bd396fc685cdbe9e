"""The target `mail`: makes an e-mail of each message and passes it to a mail service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import Protocol

from flyteidl.admin.notification_pb2 import EmailMessage as EmailText

from app.background.notifications import templates
from app.background.notifications.notice import Notice, notice_of
from app.background.notifications.rates import Rates
from app.background.outbox.targets import Backoff, Delivery, MessageRefused
from app.services.notifications import MAIL
from app.settings import Settings

# The kind of messages whose content is an admin.EmailMessage with one recipient.
PREPARED = "prepared"


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail to one recipient.

    Attributes:
        id: The id of the delivery, the same at each attempt.
        sender: As the settings have it, perhaps with a name.
        html: The body.
        conversation: Receives the commands and the replies of the server, one line each, without secrets.
    """

    id: str
    sender: str
    recipient: str
    subject: str
    html: str
    created_at: datetime
    conversation: list[str] = field(default_factory=list)

    @property
    def sender_address(self) -> str:
        """Return the address of the sender, without a name."""
        return parseaddr(self.sender)[1]

    def message(self) -> bytes:
        """Return the message with its headers. Raises MessageRefused for addresses that headers cannot hold."""
        message = EmailMessage(policy=SMTP)
        try:
            name, _, domain = self.recipient.rpartition("@")
            message["To"] = Address(username=name, domain=domain)
            message["From"] = self.sender
        except (HeaderParseError, ValueError, IndexError) as error:
            raise MessageRefused(f"the address cannot be written into a header: {error}") from error
        message["Subject"] = self.subject
        message["Date"] = self.created_at
        # A repeated e-mail has the same id. Programs that answer e-mail leave it alone (RFC 3834).
        message["Message-ID"] = f"<{self.id}@{self.sender_address.rpartition('@')[2] or 'flyteadmin.invalid'}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.html, subtype="html")
        return message.as_bytes()


def _prepared(delivery: Delivery) -> Mail:
    """Return the e-mail of a message that holds its texts (queue.py)."""
    message = EmailText.FromString(delivery.content)
    [recipient] = message.recipients_email
    return Mail(
        id=delivery.delivery_id,
        sender=message.sender_email,
        recipient=recipient,
        subject=" ".join(message.subject_line.split()),
        html=message.body,
        created_at=delivery.created_at,
    )


class MailService(Protocol):
    """Sends e-mails. The exceptions are those of app/background/outbox/targets.py."""

    name: str

    async def check(self) -> str:
        """Return "" or why the service cannot be used, in one line without secrets."""

    async def send(self, mail: Mail) -> str:
        """Send an e-mail and return the reply."""

    async def close(self) -> None:
        """Close connections."""


class MailTarget:
    """Delivers e-mails.

    Args:
        settings: The settings.
        service: The mail service.
    """

    name = MAIL
    ordered = False
    # RFC 5321, 4.5.4.1: at least half an hour after the first hours; a message is given up after days.
    backoff = Backoff(60.0, 4 * 3600.0)

    def __init__(self, settings: Settings, service: MailService) -> None:
        self._settings = settings
        self._section = settings.notifications.emailer
        self._service = service
        self._rates = Rates(settings.notifications.recipient_messages_per_minute)

    async def open(self) -> None:
        """Do nothing: connections are made when there is an e-mail."""

    async def check(self) -> str:
        """Try the mail service."""
        return await self._service.check()

    async def deliver(self, delivery: Delivery) -> str:
        """Send one e-mail."""
        if delivery.kind == PREPARED:
            mail = _prepared(delivery)
        else:
            mail = self.mail(notice_of(delivery, self._settings), delivery.delivery_id, delivery.created_at)
        self._rates.take(hashlib.sha256(mail.recipient.encode()).hexdigest(), processes=delivery.processes)
        return await self._service.send(mail)

    async def send_trial(self, notice: Notice, delivery_id: str, now: datetime, conversation: list[str]) -> str:
        """Send one e-mail now and return the reply; the exceptions are those of `deliver`.

        Args:
            notice: The message.
            delivery_id: Its id.
            now: Its time.
            conversation: Receives the conversation with the server.
        """
        return await self._service.send(replace(self.mail(notice, delivery_id, now), conversation=conversation))

    async def close(self) -> None:
        """Close connections."""
        await self._service.close()

    def mail(self, notice: Notice, id: str, created_at: datetime) -> Mail:
        """Return the e-mail for a notice."""
        section = self._section
        subject, html = templates.subject(notice, section), templates.body(notice, section)
        return Mail(id, section.sender, notice.address, subject, html, created_at)
