"""Rows that several units of work of one moment share, instead of reading each of them again.

A background service that performs many calls at once gives their units of work one memo, and a new one soon after. A
read before `begin` then returns the row that another unit has read, as if the call had begun that much earlier. Reads
in a transaction, and reads with a lock, never use the memo.
"""

from __future__ import annotations

from typing import Any

from app.database import schema, statements
from app.database.statements import Statement

Key = tuple[Statement, tuple[Any, ...]]


class ReadMemo:
    """Results of reads that return one row, by statement and parameters."""

    def __init__(self) -> None:
        self._rows: dict[Key, Any] = {}

    def key(self, statement: Statement, parameters: dict[str, Any]) -> Key:
        """Return the key of a read."""
        return (statement, tuple(parameters.items()))

    def has(self, key: Key) -> bool:
        """Return whether the memo has the result of a read."""
        return key in self._rows

    def get(self, key: Key) -> Any:
        """Return the row of a read, None where there is none in the database."""
        return self._rows[key]

    def put(self, key: Key, row: Any) -> None:
        """Store the row of a read, or None."""
        self._rows[key] = row

    def put_found(self, model: type[schema.Base], columns: tuple[str, ...], where: dict[str, Any], row: Any) -> None:
        """Store the result of `UnitOfWork.find` with these arguments. row: has the columns as attributes, or None."""
        # The arguments are those of `find`: the cache of statements has an entry for each way to call it.
        statement = statements.select_by_key(model, tuple(where), columns, False)
        self.put(self.key(statement, where), row)
