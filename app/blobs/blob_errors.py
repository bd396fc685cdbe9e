"""Errors of one object. Each is a FlyteError whose message names the object's location.

BlobError
├── BlobMissing 5       no object has this location
├── BlobOutside 3       the location is not in this server's storage
├── BlobNameRefused 3   the store cannot hold an object of this name
├── BlobTooLarge 8      the object exceeds the caller's limit
├── BlobUnreadable 13   the object exists and cannot be read
├── BlobUnwritable 13   the object cannot be stored
├── BlobUnavailable 14  the store does not answer, or is busy; the same call may succeed later
└── StorageFull 8       the storage has no room for the object
"""

import errno
from dataclasses import dataclass

from app import errors
from app.blobs.object_names import FILE_NAME_BYTES_MAX, PATH_BYTES_MAX
from app.errors import cut

# Errors of an unreachable network file system, and of a process without free descriptors or memory.
_TRANSIENT = (
    *(errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)

# Names of limits for the argument `setting` of `Blobs.read`: of inputs and outputs, and of compiled workflows.
DOWNLOAD_LIMIT = "storage.limits.maxDownloadMBs"
CLOSURE_LIMIT = f"{DOWNLOAD_LIMIT}, but at least 64 MiB"

_URI_BYTES_MAX = 1024
_TAKEN = "a parent folder of its path is an object, or its path is a folder"
_TOO_LONG = f"a component has at most {FILE_NAME_BYTES_MAX} bytes, and a path at most {PATH_BYTES_MAX:,}"
# Errors that only another name avoids → the reason in the message.
_BAD_NAMES = {
    errno.ENOTDIR: _TAKEN,
    errno.EISDIR: _TAKEN,
    errno.EEXIST: _TAKEN,
    errno.ENOTEMPTY: _TAKEN,
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.ELOOP: "symbolic links of its path form a loop",
    errno.EINVAL: "the file system does not accept it",
    errno.EILSEQ: "the file system does not accept it",
}


class BlobError(errors.FlyteError):
    """The object cannot be used."""


class BlobMissing(BlobError, errors.NotFound):
    """The object does not exist."""


class BlobOutside(BlobError, errors.InvalidArgument):
    """The location is not in this server's storage."""


class BlobNameRefused(BlobError, errors.InvalidArgument):
    """The store cannot hold an object of this name."""


class BlobTooLarge(BlobError, errors.ResourceExhausted):
    """The object is larger than the caller allows."""


class BlobUnreadable(BlobError, errors.Internal):
    """The object exists and cannot be read."""


class BlobUnwritable(BlobError, errors.Internal):
    """The object cannot be stored."""


class BlobUnavailable(BlobError, errors.Unavailable):
    """The object store does not answer, or is busy."""


class StorageFull(BlobError, errors.ResourceExhausted):
    """The storage has no room for the object."""


@dataclass(frozen=True, slots=True)
class Unavailability:
    """A call to the store that raised BlobUnavailable.

    Attributes:
        at: When, in seconds since 1970.
        reason: The error's message.
    """

    at: float
    reason: str


def missing(uri: str) -> BlobMissing:
    """Return the error for a location without an object."""
    return BlobMissing(f"object [{uri}] does not exist")


def outside(uri: str) -> BlobOutside:
    """Return the error for a location that is not in this server's storage."""
    return BlobOutside(f"location [{uri}] is not in this server's storage")


def too_large(uri: str, size: int, bytes_max: int, setting: str) -> BlobTooLarge:
    """Return the error for an object that exceeds a limit.

    Args:
        uri: The object's location.
        size: The object's size, in bytes.
        bytes_max: The limit, in bytes.
        setting: The setting that raises the limit; "" for a fixed limit.
    """
    advice = f"; the limit is {setting}" if setting else ""
    return BlobTooLarge(f"object [{uri}] has {size} bytes, larger than the limit of {bytes_max} bytes{advice}")


def unreadable(uri: str, reason: str, *, transient: bool = False) -> BlobError:
    """Return the error for an object that cannot be read; transient: whether a later call may succeed."""
    return unavailable(uri, "read", reason) if transient else BlobUnreadable(f"object [{uri}] cannot be read: {reason}")


def unwritable(uri: str, reason: str, *, transient: bool = False) -> BlobError:
    """Return the error for an object that cannot be stored; transient: whether a later call may succeed."""
    if transient:
        return unavailable(uri, "stored", reason)
    return BlobUnwritable(f"object [{uri}] cannot be stored: {reason}")


def unavailable(uri: str, verb: str, reason: str) -> BlobUnavailable:
    """Return the error for a transient failure; verb: the failed operation as a participle, such as "read"."""
    return BlobUnavailable(f"object [{uri}] cannot be {verb} now: {reason}")


def unreadable_file(uri: str, error: OSError) -> BlobError:
    """Return the error for a file that exists and cannot be read."""
    return unreadable(uri, error.strerror or str(error), transient=error.errno in _TRANSIENT)


def unwritable_file(uri: str, error: OSError) -> BlobError:
    """Return the error for a file that cannot be stored: StorageFull, BlobNameRefused, or as `unwritable`."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"object [{uri}] cannot be stored: {reason}")
    if error.errno in _BAD_NAMES:
        return name_refused(uri, _BAD_NAMES[error.errno])
    return unwritable(uri, reason, transient=error.errno in _TRANSIENT)


def name_refused(uri: str, reason: str) -> BlobNameRefused:
    """Return the error for a name that no object can have."""
    return BlobNameRefused(f"object [{cut(uri, _URI_BYTES_MAX)}] cannot be stored under this name: {reason}")


def failed_call(error: Exception, message: str) -> errors.FlyteError:
    """Return the error of a call that failed because of an object.

    It is UNAVAILABLE for a transient cause, INVALID_ARGUMENT where only another location helps, else INTERNAL.
    """
    if isinstance(error, BlobNameRefused | BlobOutside):
        return errors.InvalidArgument(message)
    return errors.Unavailable(message) if isinstance(error, BlobUnavailable) else errors.Internal(message)
