"""Sends e-mails by Amazon SES.

Source: flyteadmin/pkg/async/notifications/implementations/aws_emailer.go.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.background.events_out.publisher import library
from app.background.notifications.mail import Mail
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting, Settings
from app.settings.outbound import Aws

TIMEOUT_SECONDS = 10.0
_THREADS = 8
_REFUSED = ("MessageRejected", "InvalidParameterValue", "ValidationError")
_AGAIN = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure")


class Ses:
    """The mail service `ses`, for notifications.type=aws.

    Args:
        settings: The settings.

    Raises:
        BadSetting: The region cannot be used, or the extra is not installed.
    """

    name = "ses"

    def __init__(self, settings: Settings) -> None:
        section = settings.notifications
        extra = {"extra": "aws", "setting": "notifications.type=aws"}
        boto3, config = library("boto3", **extra), library("botocore.config", **extra)
        self._errors = library("botocore.exceptions", **extra)
        options = config.Config(
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            # The outbox repeats what fails.
            retries={"total_max_attempts": 1},
            max_pool_connections=_THREADS,
        )
        region = region_of(section.aws) or section.region
        try:
            self._client = boto3.session.Session().client("ses", region_name=region or None, config=options)
        except (self._errors.BotoCoreError, ValueError) as error:
            raise BadSetting(f"notifications.aws.region={region!r} cannot be used: {error}") from error
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ses")

    async def check(self) -> str:
        """Read the quota of the account. A user who may only send is no problem."""
        try:
            await self._call(self._client.get_send_quota)
        except self._errors.ClientError as error:
            return "" if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException") else str(error)
        except self._errors.BotoCoreError as error:
            return str(error)
        return ""

    async def send(self, mail: Mail) -> str:
        """Send an e-mail; return SES's id of it."""
        mail.conversation.append(f"> SendEmail in {self._client.meta.region_name}")
        try:
            reply = await self._call(
                self._client.send_email,
                Source=mail.sender,
                Destination={"ToAddresses": [mail.recipient]},
                Message={"Subject": {"Data": mail.subject}, "Body": {"Html": {"Data": mail.html}}},
            )
        except self._errors.ClientError as error:
            raise _failure(error) from error
        except self._errors.BotoCoreError as error:
            raise Away(f"SES: {error}") from error
        return f"message {reply['MessageId']}"

    async def close(self) -> None:
        """Close the connections and end the threads."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, method: Any, **parts: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(**parts))


def _failure(error: Any) -> Exception:
    """Return the exception for an error that SES answered."""
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _REFUSED:
        return MessageRefused(f"SES: {error}")
    if code in _AGAIN or status >= 500:
        return TryAgain(f"SES: {error}")
    return Away(f"SES: {error}")


def region_of(place: Aws) -> str:
    """Return the region of the settings, "" for that of the environment."""
    return place.region
