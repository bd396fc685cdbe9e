"""Sends e-mails by SendGrid's API v3.

Source: flyteadmin/pkg/async/notifications/implementations/sendgrid_emailer.go.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from app.background.http_out import HttpOut, ReceiverReply, Unreachable, Unusable
from app.background.notifications.mail import Mail
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting, Settings

_SECTION = "notifications.emailer.emailServerConfig"
# Parity: the name of the sender.
SENDER_NAME = "Flyte Notifications"
KEY_BYTES_MAX = 4096


class SendGrid:
    """The mail service `sendgrid`.

    Args:
        settings: The settings.
        http: Sends the requests.

    Raises:
        BadSetting: There is no API key.
    """

    name = "sendgrid"

    def __init__(self, settings: Settings, http: HttpOut) -> None:
        self._section = settings.notifications.emailer.email_server_config
        self._http = http
        if not (self._section.api_key_env_var or self._section.api_key_file_path):
            raise BadSetting(f"serviceName=sendgrid needs {_SECTION}.apiKeyEnvVar or {_SECTION}.apiKeyFilePath")
        self._key()

    async def check(self) -> str:
        """Look whether there is a key and a connection."""
        try:
            self._key()
            await self._http.reach(self._section.sendgrid_url)
        except (BadSetting, Unreachable, Unusable) as error:
            return str(error)
        return ""

    async def send(self, mail: Mail) -> str:
        """Send an e-mail; return status and id of SendGrid's reply."""
        try:
            headers = {"authorization": f"Bearer {self._key()}", "content-type": "application/json"}
        except BadSetting as error:
            raise Away(str(error)) from error
        url = f"{self._section.sendgrid_url.rstrip('/')}/v3/mail/send"
        mail.conversation.append(f"> POST {url}")
        try:
            reply = await self._http.post(url, headers=headers, body=orjson.dumps(_request(mail)))
        except (Unreachable, Unusable) as error:
            raise Away(f"SendGrid: {error}") from error
        mail.conversation.append(reply.summary())
        return _outcome(reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _key(self) -> str:
        """Return the API key, which may have changed since the last e-mail."""
        if variable := self._section.api_key_env_var:
            if not (key := os.environ.get(variable, "").strip()):
                raise BadSetting(f"{_SECTION}.apiKeyEnvVar={variable}: the environment has no such variable")
            return key
        path = Path(self._section.api_key_file_path)
        try:
            with path.open("rb") as file:
                key = file.read(KEY_BYTES_MAX).decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise BadSetting(f"{_SECTION}.apiKeyFilePath={path} cannot be read: {error}") from error
        if not key:
            raise BadSetting(f"{_SECTION}.apiKeyFilePath={path} is empty")
        return key


def _request(mail: Mail) -> dict[str, object]:
    return {
        "personalizations": [{"to": [{"email": mail.recipient}], "subject": mail.subject}],
        "from": {"name": SENDER_NAME, "email": mail.sender_address},
        "content": [{"type": "text/html", "value": mail.html}],
        "headers": {"Auto-Submitted": "auto-generated"},
        "custom_args": {"delivery_id": mail.id},
    }


def _outcome(reply: ReceiverReply) -> str:
    """Return the reply of a success, raise the exception of a failure."""
    status, text = reply.status, f"SendGrid: {reply.summary()}"
    if 200 <= status < 300:
        return reply.summary()
    if status in (401, 403):
        raise Away(text)
    if status in (408, 425, 429) or status >= 500:
        raise TryAgain(text, after_seconds=reply.retry_after_seconds)
    raise MessageRefused(text)
