"""The errors that clients receive, one class per gRPC code.

    FlyteError
    ├── Canceled 1          ├── AlreadyExists 6        ├── OutOfRange 11
    ├── Unknown 2           ├── PermissionDenied 7     ├── Unimplemented 12
    ├── InvalidArgument 3   ├── ResourceExhausted 8    ├── Internal 13
    ├── DeadlineExceeded 4  ├── FailedPrecondition 9   ├── Unavailable 14
    └── NotFound 5          └── Aborted 10             └── Unauthenticated 16

Rules and services raise them. The edges (app/api, app/mcp) turn them into replies.
"""

from typing import ClassVar

from google.protobuf.message import Message

# Deviates: longer messages break the response stream of Python gRPC clients (upstream cuts at 32,000 bytes).
MESSAGE_BYTES_MAX = 4096


def cut(text: str, bytes_max: int = MESSAGE_BYTES_MAX) -> str:
    """Return the longest prefix of a text that fits in bytes_max bytes of UTF-8, without splitting a character."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        # The question marks replace lone surrogates, which stand for bytes of a request that are not UTF-8.
        return raw.decode()
    return raw[:bytes_max].decode("utf-8", "ignore")


class FlyteError(Exception):
    """The root of all errors that clients receive.

    Args:
        message: The text for the client, cut at MESSAGE_BYTES_MAX.
        details: Protobuf messages for the field `details` of google.rpc.Status.
    """

    code: ClassVar[int] = 2

    def __init__(self, message: str, *, details: tuple[Message, ...] = ()) -> None:
        self.message = cut(message)
        self.details = details
        super().__init__(self.message)


class Canceled(FlyteError):
    """The caller cancelled the call, or disconnected."""

    code = 1


class Unknown(FlyteError):
    """A failure that no other code describes."""

    code = 2


class InvalidArgument(FlyteError):
    """The request is wrong in itself, whatever the state of the server."""

    code = 3


class DeadlineExceeded(FlyteError):
    """The call did not end before its deadline or a time limit of the server."""

    code = 4


class NotFound(FlyteError):
    """The entity does not exist."""

    code = 5


class AlreadyExists(FlyteError):
    """An entity with this key exists."""

    code = 6


class PermissionDenied(FlyteError):
    """The caller may not do this."""

    code = 7


class ResourceExhausted(FlyteError):
    """A limit of this server, or its disk, is used up."""

    code = 8


class FailedPrecondition(FlyteError):
    """The state of the entity does not allow the operation."""

    code = 9


class Aborted(FlyteError):
    """A concurrent transaction prevented this one; the caller may try again."""

    code = 10


class OutOfRange(FlyteError):
    """A value lies outside of its range."""

    code = 11


class Unimplemented(FlyteError):
    """The RPC or the feature is not implemented."""

    code = 12


class Internal(FlyteError):
    """A fault of this server. An empty message hides an unexpected exception, which is logged."""

    code = 13


class Unavailable(FlyteError):
    """The server, its database or its storage does not answer now; the caller may try again."""

    code = 14


class Unauthenticated(FlyteError):
    """The caller has no valid credentials."""

    code = 16


def missing(field: str) -> InvalidArgument:
    """Return the error for a required argument that is absent.

    Source: upstream validation.ValidateEmptyStringField.
    """
    return InvalidArgument(f"missing {field}")


def invalid(field: str) -> InvalidArgument:
    """Return the error for an argument outside of its range.

    Source: upstream shared.GetInvalidArgumentError.
    """
    return InvalidArgument(f"invalid value for {field}")
