"""Limits, sort keys and page tokens of lists (docs/decisions/0005).

There are two kinds of tokens:

- `k.` and base64url of [sort key, ascending, last value, last id] name the last row of the page. Every page costs the
  same, and rows inserted meanwhile are neither repeated nor skipped.
- Decimal digits are an offset, as in upstream; flytectl asks for page N in this way.

Source:
    flyteadmin/pkg/manager/impl/validation (ValidateToken), pkg/common/sorting.go
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from flyteidl.admin import common_pb2
from sqlalchemy import ColumnElement, Table, and_, bindparam, literal_column, or_, tuple_
from sqlalchemy.sql.schema import Column

from app import errors
from app.database.schema import UtcTime
from app.runtime.context import Context
from app.wire.text import text

OFFSET_MAX = 2**63 - 1
# Columns that are NULL in no row although the schema allows it, so that (column, id) can be compared as a pair.
_NEVER_NULL = frozenset({"created_at", "updated_at", "execution_created_at", "node_execution_created_at"})


@dataclass(frozen=True, slots=True)
class Sort:
    """An order by one column, then by id in the same direction."""

    key: str
    ascending: bool


@dataclass(frozen=True, slots=True)
class Start:
    """The row at which a page begins.

    Attributes:
        offset: Number of rows to skip; 0 with `after`.
        after: Sort value and id of the last row of the previous page; None for the first page and with an offset.
    """

    offset: int = 0
    after: tuple[Any, int] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The start as parameters of a statement: page_offset, after_value and after_id."""
        if self.after is None:
            return {"page_offset": self.offset}
        return {"page_offset": 0, "after_value": self.after[0], "after_id": self.after[1]}


def check_limit(limit: int) -> None:
    """Raise InvalidArgument for limit 0.

    Source:
        upstream ValidateLimit
    """
    if limit == 0:
        raise errors.invalid("limit")


def effective_limit(ctx: Context, limit: int) -> int:
    """Return how many rows a page has at most: `limit`, but no more than limits.listRowsMax; 0 means the latter.

    Deviates: upstream has no maximum. A client that follows the tokens gets all rows in several pages.
    """
    rows_max = ctx.settings.limits.list_rows_max
    return min(limit or rows_max, rows_max)


def read_sort(sort_by: common_pb2.Sort | None, table: Table, default: Sort) -> Sort:
    """Return the order that a request asks for, or `default`. Any column of the table is a sort key.

    Raises:
        InvalidArgument: The key is no column, or the direction is unknown.
    """
    if sort_by is None:
        return default
    if sort_by.key not in table.c:
        raise errors.InvalidArgument(f"invalid sort key '{sort_by.key}'")
    if sort_by.direction not in (common_pb2.Sort.DESCENDING, common_pb2.Sort.ASCENDING):
        raise errors.InvalidArgument(f"invalid sort order specified: {text(sort_by)}")
    return Sort(sort_by.key, sort_by.direction == common_pb2.Sort.ASCENDING)


def read_token(token: str, sort: Sort, column: Column[Any], rpc: str) -> Start:
    """Return the start of the page that a token names.

    Args:
        token: The token of the request, "" for the first page.
        sort: The order of the request.
        column: The sort column.
        rpc: The method's name for the error.

    Raises:
        InvalidArgument: The token is malformed, or was made for another order.
    """
    if not token:
        return Start()
    broken = errors.InvalidArgument(f"invalid pagination token {token}" + (f" for {rpc}" if rpc else ""))
    if re.fullmatch(r"\+?[0-9]{1,19}", token):
        offset = int(token)
        if offset > OFFSET_MAX:
            raise broken
        return Start(offset=offset)
    if not token.startswith("k."):
        raise broken
    try:
        key, ascending, value, row_id = orjson.loads(base64.urlsafe_b64decode(token[2:] + "=="))
        if isinstance(column.type, UtcTime) and value is not None:
            # A time outside the range of UTC raises OverflowError; no row has such a time.
            value = datetime.fromisoformat(value).astimezone(UTC)
        elif isinstance(value, dict):
            value = base64.b64decode(value["b"])
    except (binascii.Error, ValueError, TypeError, KeyError, OverflowError) as error:
        raise broken from error
    typed = value is None or isinstance(value, column.type.python_type)
    if (key, ascending) != (sort.key, sort.ascending) or not typed or not _is_bigint(row_id):
        raise broken
    if isinstance(value, int) and not _is_bigint(value):
        raise broken
    return Start(after=(value, row_id))


def _is_bigint(value: Any) -> bool:
    # isinstance would accept JSON's true, which PostgreSQL refuses.
    return type(value) is int and -(2**63) <= value < 2**63


def next_token(ctx: Context, start: Start, rows: int, sort: Sort, value: Any, row_id: int) -> str:
    """Return the token of the page after this one.

    With `switching.upstreamPageTokens` it is an offset, as upstream's server reads it. A page that began after a row
    has no known offset, so its successor has a token of our own kind in any case.

    Args:
        ctx: Gives the settings.
        start: The start of this page.
        rows: Number of rows of this page.
        sort: The list's sort.
        value: The sort value of the last row.
        row_id: The id of the last row.
    """
    if ctx.settings.switching.upstream_page_tokens and start.after is None:
        return str(start.offset + rows)
    return write_token(sort, value, row_id)


def write_token(sort: Sort, value: Any, row_id: int) -> str:
    """Return the token of the page after the row with this sort value and id; it is never all digits."""
    if isinstance(value, datetime):
        value = value.isoformat()
    elif isinstance(value, bytes):
        value = {"b": base64.b64encode(value).decode()}
    return "k." + base64.urlsafe_b64encode(orjson.dumps([sort.key, sort.ascending, value, row_id])).decode().rstrip("=")


def apply_limit(query: Any, limit: int, *, offset: bool) -> Any:
    """Limit a query to the rows of a page.

    The limit is written into the SQL. For a limit that is a parameter PostgreSQL expects a tenth of all rows. A plan
    for all values then looks too expensive, so each run is planned again, which takes longer than running it.

    Args:
        query: The SELECT.
        limit: Rows of a page.
        offset: Whether to skip rows, by the parameter page_offset.
    """
    query = query.limit(literal_column(str(limit)))
    return query.offset(bindparam("page_offset")) if offset else query


def order(table: Any, sort: Sort) -> list[ColumnElement[Any]]:
    """Return the ORDER BY of a sort. NULLs are ordered as on PostgreSQL: last when ascending, else first."""
    column, row_id = table.c[sort.key], table.c.id
    if sort.ascending:
        first = column.asc() if not may_be_null(column) else column.asc().nulls_last()
        return [first] if sort.key == "id" else [first, row_id.asc()]
    first = column.desc() if not may_be_null(column) else column.desc().nulls_first()
    return [first] if sort.key == "id" else [first, row_id.desc()]


def may_be_null(column: Column[Any]) -> bool:
    """Return whether rows may have NULL in this column."""
    return bool(column.nullable) and column.key not in _NEVER_NULL


def after_condition(table: Table, sort: Sort, *, value_is_null: bool) -> ColumnElement[bool]:
    """Return the condition for rows after a given row in the order of a sort.

    Args:
        table: The listed table.
        sort: The order.
        value_is_null: Whether the sort value of the given row is NULL. The row is named by the parameters after_value
            and after_id.
    """
    column, row_id = table.c[sort.key], table.c.id
    value, last = bindparam("after_value", type_=column.type), bindparam("after_id", type_=row_id.type)
    if sort.key == "id":
        return row_id > last if sort.ascending else row_id < last
    if not may_be_null(column):
        pair, bound = tuple_(column, row_id), tuple_(value, last)
        return pair > bound if sort.ascending else pair < bound
    if sort.ascending:  # NULLs come last.
        if value_is_null:
            return and_(column.is_(None), row_id > last)
        return or_(column > value, and_(column == value, row_id > last), column.is_(None))
    if value_is_null:  # NULLs come first.
        return or_(and_(column.is_(None), row_id < last), column.is_not(None))
    return or_(column < value, and_(column == value, row_id < last))
