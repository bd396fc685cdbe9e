"""Read one page of a list.

A request passes these modules: `filters` parses its filters, `narrowing` chooses a strategy that indexes answer,
`page_sql` and `filter_sql` write the SELECT, `pages` reads and writes sort keys and page tokens. A resource only
describes its list with a `Listing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flyteidl.admin import common_pb2
from google.protobuf.message import Message

from app.database import schema
from app.query import narrowing, pages
from app.query.filters import Filter, parse
from app.query.listing import ExistsFlag, Join, Listing
from app.query.page_sql import page_statement
from app.query.visible import Visible
from app.runtime.context import Context
from app.settings.limits import Limits

__all__ = ["ExistsFlag", "Join", "Listing", "page", "parse_filters"]


async def page(
    ctx: Context,
    listing: Listing,
    *,
    rpc: str,
    where: Mapping[str, Any],
    filters: str | Sequence[Filter] = "",
    sort_by: common_pb2.Sort | None = None,
    limit: int,
    token: str,
    columns: tuple[str, ...] | None = None,
    message_of: Callable[[Any], Message] | None = None,
    visible: Visible | None = None,
) -> tuple[Sequence[Any], str]:
    """Return the rows of one page and the token of the next page, "" after the last one.

    A page has at most limits.listReplyBytesMax bytes, or one row.

    Args:
        ctx: The request.
        listing: The list.
        rpc: The method's name for the error of an invalid token.
        where: Column → value that every row has; None for IS NULL.
        filters: Text of the request, or the result of `parse_filters`.
        sort_by: The requested order; None for the list's default.
        limit: Rows of a page; 0 for limits.listRowsMax.
        token: The token of the request.
        columns: Columns to select besides the sort key and id; None for all.
        message_of: Makes the message of a row, where a message may be much smaller than its row.
        visible: The places that the caller may see, None for every place.

    Raises:
        InvalidArgument: In upstream's order: filters, sort, token.

    Source:
        upstream ListInput handling in pkg/repositories/gormimpl
    """
    table = schema.table(listing.model)
    parsed = parse_filters(listing, filters, ctx.settings.limits) if isinstance(filters, str) else tuple(filters)
    sort = pages.read_sort(sort_by, table, listing.default_sort)
    start = pages.read_token(token, sort, table.c[sort.key], rpc)
    limit = pages.effective_limit(ctx, limit)
    conditions = tuple((column, "null" if value is None else "eq") for column, value in where.items())
    given = {f"where_{column}": value for column, value in where.items() if value is not None}
    narrowed = await narrowing.narrow(ctx, listing, parsed, conditions, given, sort)
    if narrowed is None:
        return (), ""
    after_null = None if start.after is None else start.after[0] is None
    shown = None if visible is None else visible.shape
    statement = page_statement(
        listing,
        columns,
        conditions,
        narrowed.shapes,
        sort,
        after_null,
        limit,
        start.offset > 0,
        narrowed.strategy,
        shown,
    )
    parameters = {**given, **narrowed.values, **start.parameters, **({} if visible is None else visible.values)}
    parameters["page_end"] = min(start.offset + limit, pages.OFFSET_MAX)
    found = await ctx.db.all(statement, **parameters)
    rows = _fitting(found, ctx.settings.limits.list_reply_bytes_max, message_of)
    is_last = len(found) != limit and len(rows) == len(found)
    if is_last or not rows:
        return rows, ""
    return rows, pages.next_token(ctx, start, len(rows), sort, getattr(rows[-1], sort.key), rows[-1].id)


def parse_filters(listing: Listing, text: str, limits: Limits) -> tuple[Filter, ...]:
    """Parse the filters of a request for this list; see `filters.parse`."""
    return parse(text, limits=limits, own=listing.entity, joinable=listing.joinable)


def _fitting(rows: Sequence[Any], bytes_max: int, message_of: Callable[[Any], Message] | None) -> Sequence[Any]:
    """Return the first rows that together have at most `bytes_max` bytes in a reply, and at least one row."""
    if sum(map(_size, rows)) <= bytes_max:
        return rows
    total = 0
    for count, row in enumerate(rows):
        total += _size(row) if message_of is None else message_of(row).ByteSize()
        if total > bytes_max and count:
            return rows[:count]
    return rows


def _size(row: Any) -> int:
    """Return about how many bytes a row has in a reply. This runs for each row of each page."""
    return sum(len(value) for value in row if isinstance(value, (bytes, str)))
