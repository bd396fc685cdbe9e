"""Every error a client can see, one class per gRPC code.

    FlyteError
    ├── Canceled 1          ├── AlreadyExists 6        ├── OutOfRange 11
    ├── Unknown 2           ├── PermissionDenied 7     ├── Unimplemented 12
    ├── InvalidArgument 3   ├── ResourceExhausted 8    ├── Internal 13
    ├── DeadlineExceeded 4  ├── FailedPrecondition 9   ├── Unavailable 14
    └── NotFound 5          └── Aborted 10             └── Unauthenticated 16

The docstring of a class is its default message. `details` are protobuf messages that travel in
google.rpc.Status.details. Rules and services raise; only the edge (app/api) catches.
"""

from typing import ClassVar

from google.protobuf.message import Message

# Deviates: longer messages break the response stream of Python gRPC clients (upstream cuts at 32,000 bytes).
MESSAGE_BYTES_MAX = 4096


def cut(text: str, bytes_max: int = MESSAGE_BYTES_MAX) -> str:
    """The longest prefix of text that fits in bytes_max bytes of UTF-8, never splitting a character."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        # Lone surrogates, which stand for bytes of a request that are not UTF-8, can be sent to nobody.
        return raw.decode()
    return raw[:bytes_max].decode("utf-8", "ignore")


class FlyteError(Exception):
    """unknown error"""

    code: ClassVar[int] = 2

    def __init__(self, message: str | None = None, *, details: tuple[Message, ...] = ()) -> None:
        self.message = cut(message if message is not None else (type(self).__doc__ or ""))
        self.details = details
        super().__init__(self.message)


class Canceled(FlyteError):
    """the client went away"""

    code = 1


class Unknown(FlyteError):
    """unknown error"""

    code = 2


class InvalidArgument(FlyteError):
    """invalid argument"""

    code = 3


class DeadlineExceeded(FlyteError):
    """the deadline passed before the operation ended"""

    code = 4


class NotFound(FlyteError):
    """entry not found"""

    code = 5


class AlreadyExists(FlyteError):
    """already exists"""

    code = 6


class PermissionDenied(FlyteError):
    """permission denied"""

    code = 7


class ResourceExhausted(FlyteError):
    """a limit of this server was reached"""

    code = 8


class FailedPrecondition(FlyteError):
    """failed precondition"""

    code = 9


class Aborted(FlyteError):
    """aborted, try again"""

    code = 10


class OutOfRange(FlyteError):
    """out of range"""

    code = 11


class Unimplemented(FlyteError):
    """not implemented"""

    code = 12


class Internal(FlyteError):
    """internal error"""

    code = 13


class Unavailable(FlyteError):
    """unavailable, try again"""

    code = 14


class Unauthenticated(FlyteError):
    """unauthenticated"""

    code = 16


def missing(field: str) -> InvalidArgument:
    """The error for an argument that is required and absent (upstream validation.ValidateEmptyStringField)."""
    return InvalidArgument(f"missing {field}")


def invalid(field: str) -> InvalidArgument:
    """The error for an argument outside its range (upstream shared.GetInvalidArgumentError)."""
    return InvalidArgument(f"invalid value for {field}")
