"""One page of a list as database rows, which are turned into messages only where an encoding needs messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

PageT = TypeVar("PageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Page(Generic[PageT]):
    """One page of a list, still as database rows. REST renders the rows directly; other transports call `message()`.

    Attributes:
        page: The list message without its rows, which belong into its first field.
        rows: The database rows.
        shown: Makes the message of one row. It depends on nothing but the row, so that an encoded row can be cached
            and reused for an equal row.
    """

    page: PageT
    rows: Sequence[Any]
    shown: Callable[[Any], Message]

    def message(self) -> PageT:
        """Return the page as a message with all rows."""
        getattr(self.page, self.page.DESCRIPTOR.fields[0].name).extend(map(self.shown, self.rows))
        return self.page


def message_of(reply: Message | Page[Any]) -> Message:
    """Return a reply as a message, with all rows where it is a page."""
    return reply.message() if isinstance(reply, Page) else reply
