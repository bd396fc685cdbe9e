"""The size limit of literals, storage.limits.maxDownloadMBs, for writers.

Readers of objects apply the limit in app/blobs, so a larger object could be stored and never be read. Writers
therefore apply the limit before they store anything: the request is refused, and no execution fails later.
"""

from __future__ import annotations

from google.protobuf.message import Message

from app import errors
from app.settings import Settings

SETTING = "storage.limits.maxDownloadMBs"
_HELP = (
    f"pass large values as files (FlyteFile, FlyteDirectory, StructuredDataset) or raise {SETTING}, which is "
    "{megabytes}"
)


def excess(settings: Settings, what: str, values: Message) -> str:
    """Return why values are too large to be stored, or "" if they are not.

    Args:
        settings: The settings; a limit of 0 means no limit.
        what: A plural noun for the message, such as "inputs".
        values: A LiteralMap or another message that is stored as one object.
    """
    limits, size = settings.storage.limits, values.ByteSize()
    if not limits.max_download_bytes or size <= limits.max_download_bytes:
        return ""
    reason = f"{what} have {size} bytes, more than the limit of {limits.max_download_bytes}; "
    return reason + _HELP.format(megabytes=limits.max_download_mbs)


def check(settings: Settings, what: str, values: Message) -> None:
    """Raise INVALID_ARGUMENT, with both sizes and the setting, if values are too large to be stored."""
    reason = excess(settings, what, values)
    if reason:
        raise errors.InvalidArgument(reason)
