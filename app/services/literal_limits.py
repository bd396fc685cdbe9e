"""The size limit of literals: what is larger than storage.limits.maxDownloadMBs could be stored and never be read.

Readers apply the limit to objects (app/blobs). Writers apply it here, before anything is stored, so that the user who
sends too much is refused and no execution fails later.
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
    """Return why values are too large to be stored, or "" where they are not.

    Args:
        settings: Read for storage.limits.maxDownloadMBs; 0 is no limit.
        what: A plural noun for the message, such as "inputs".
        values: A LiteralMap or another message that is stored as one object.
    """
    limits, size = settings.storage.limits, values.ByteSize()
    if not limits.max_download_bytes or size <= limits.max_download_bytes:
        return ""
    told = f"{what} have {size} bytes, more than the limit of {limits.max_download_bytes}; "
    return told + _HELP.format(megabytes=limits.max_download_mbs)


def check(settings: Settings, what: str, values: Message) -> None:
    """Refuse values that are too large to be stored.

    Raises:
        errors.InvalidArgument: Names `what`, both sizes and the setting.
    """
    reason = excess(settings, what, values)
    if reason:
        raise errors.InvalidArgument(reason)
