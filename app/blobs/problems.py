"""What can go wrong with one object. Each is a FlyteError whose message names the object's location.

BlobError
├── BlobMissing 5       nothing lies there
├── BlobOutside 3       the location is not in this server's storage
├── BlobTooLarge 8      it has more bytes than the caller takes
├── BlobUnreadable 13   it lies there and cannot be read
├── BlobUnwritable 13   it cannot be stored
└── StorageFull 8       it cannot be stored because no room is left
"""

import errno

from app import errors


class BlobError(errors.FlyteError):
    """the object cannot be used"""


class BlobMissing(BlobError, errors.NotFound):
    """the object does not exist"""


class BlobOutside(BlobError, errors.InvalidArgument):
    """the location does not lie in this server's storage"""


class BlobTooLarge(BlobError, errors.ResourceExhausted):
    """the object is too large"""


class BlobUnreadable(BlobError, errors.Internal):
    """the object cannot be read"""


class BlobUnwritable(BlobError, errors.Internal):
    """the object cannot be stored"""


class StorageFull(BlobError, errors.ResourceExhausted):
    """no room is left in the storage"""


def missing(uri: str) -> BlobMissing:
    """Nothing lies at uri."""
    return BlobMissing(f"object [{uri}] does not exist")


def outside(uri: str) -> BlobOutside:
    """uri names no place of this server's storage."""
    return BlobOutside(f"location [{uri}] does not lie in this server's storage")


def too_large(uri: str, size: int, bytes_max: int) -> BlobTooLarge:
    """Return the error for an object of `size` bytes where `bytes_max` are allowed."""
    return BlobTooLarge(
        f"object [{uri}] has {size} bytes, larger than the limit of {bytes_max} bytes; "
        "the limit is storage.limits.maxDownloadMBs"
    )


def unreadable(uri: str, reason: str) -> BlobUnreadable:
    """Reading failed for a reason other than absence."""
    return BlobUnreadable(f"object [{uri}] cannot be read: {reason}")


def unwritable(uri: str, error: OSError) -> BlobError:
    """Storing failed; a full disk is its own error, because its cure is another."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"object [{uri}] cannot be stored: {reason}")
    return BlobUnwritable(f"object [{uri}] cannot be stored: {reason}")
