"""One page of a list as rows, which become messages only for who wants messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

PageT = TypeVar("PageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Page(Generic[PageT]):
    """One page of a list, still as database rows. REST renders the rows directly; other transports call `message()`.

    page: the message without its rows, which are its first field. shown: the message of a row; all that it shows is in
    the row, so that what has been printed of a row is right for an equal one.
    """

    page: PageT
    rows: Sequence[Any]
    shown: Callable[[Any], Message]

    def message(self) -> PageT:
        """The whole page."""
        getattr(self.page, self.page.DESCRIPTOR.fields[0].name).extend(map(self.shown, self.rows))
        return self.page


def message_of(reply: Message | Page[Any]) -> Message:
    """Return a reply as a message, with all rows where it is a page."""
    return reply.message() if isinstance(reply, Page) else reply
