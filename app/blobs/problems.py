"""What can go wrong with one object. Each is a FlyteError whose message names the object's location.

BlobError
├── BlobMissing 5       nothing lies there
├── BlobOutside 3       the location is not in this server's storage
├── BlobNameRefused 3   the store can hold no object of this name
├── BlobTooLarge 8      it has more bytes than the caller takes
├── BlobUnreadable 13   it lies there and cannot be read
├── BlobUnwritable 13   it cannot be stored
├── BlobUnavailable 14  the store does not answer, or not now; the same call may succeed later
└── StorageFull 8       it cannot be stored because no room is left
"""

import errno
from dataclasses import dataclass

from app import errors
from app.errors import cut

# Of a network file system that is away, and of a process that is short of descriptors or memory.
_PASSING = (
    *(errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)

_URI_BYTES_MAX = 1024
_TAKEN = "an object lies where it needs a folder, or a folder where it needs to lie"
_TOO_LONG = "a component has at most 255 bytes, and a path at most 4,095"
# What the system says of a path that can hold no file, whatever lies on the disk besides.
_BAD_NAMES = {
    errno.ENOTDIR: _TAKEN,
    errno.EISDIR: _TAKEN,
    errno.EEXIST: _TAKEN,
    errno.ENOTEMPTY: _TAKEN,
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.ELOOP: "symbolic links of its path lead in a circle",
    errno.EINVAL: "the file system does not take it",
    errno.EILSEQ: "the file system does not take it",
}


class BlobError(errors.FlyteError):
    """the object cannot be used"""


class BlobMissing(BlobError, errors.NotFound):
    """the object does not exist"""


class BlobOutside(BlobError, errors.InvalidArgument):
    """the location does not lie in this server's storage"""


class BlobNameRefused(BlobError, errors.InvalidArgument):
    """the store can hold no object of this name"""


class BlobTooLarge(BlobError, errors.ResourceExhausted):
    """the object is too large"""


class BlobUnreadable(BlobError, errors.Internal):
    """the object cannot be read"""


class BlobUnwritable(BlobError, errors.Internal):
    """the object cannot be stored"""


class BlobUnavailable(BlobError, errors.Unavailable):
    """the object store does not answer"""


@dataclass(frozen=True, slots=True)
class Unavailability:
    """A call to the store that raised BlobUnavailable. at: when, in seconds since 1970."""

    at: float
    reason: str


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


def unavailable(uri: str, verb: str, reason: str) -> BlobUnavailable:
    """Reading or storing failed for a reason that may pass; verb: what cannot be done now, such as "read"."""
    return BlobUnavailable(f"object [{uri}] cannot be {verb} now: {reason}")


def unopened(uri: str, error: OSError) -> BlobError:
    """Reading a file failed for a reason other than absence."""
    reason = error.strerror or str(error)
    return unavailable(uri, "read", reason) if error.errno in _PASSING else unreadable(uri, reason)


def name_refused(uri: str, reason: str) -> BlobNameRefused:
    """No object can have this name."""
    return BlobNameRefused(f"object [{cut(uri, _URI_BYTES_MAX)}] cannot be stored under this name: {reason}")


def unwritable(uri: str, error: OSError) -> BlobError:
    """Storing failed; a full disk is its own error, because its cure is another."""
    reason = error.strerror or str(error)
    if error.errno in _PASSING:
        return unavailable(uri, "stored", reason)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"object [{uri}] cannot be stored: {reason}")
    if error.errno in _BAD_NAMES:
        return name_refused(uri, _BAD_NAMES[error.errno])
    return BlobUnwritable(f"object [{uri}] cannot be stored: {reason}")


def failed_call(error: Exception, message: str) -> errors.FlyteError:
    """Return the error of a call that failed because of an object.

    UNAVAILABLE where the cause may pass, INVALID_ARGUMENT where only another name helps, else INTERNAL.
    """
    if isinstance(error, BlobNameRefused | BlobOutside):
        return errors.InvalidArgument(message)
    return errors.Unavailable(message) if isinstance(error, BlobUnavailable) else errors.Internal(message)
