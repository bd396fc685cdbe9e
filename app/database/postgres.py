"""PostgreSQL as a database of app/database/base.py, over the connections of app/database/pipeline.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg

from app import errors
from app.database import schema
from app.database.base import Database, Row, UnitOfWork, already_exists
from app.database.growth import TableGrowth
from app.database.locks import SERVE_SQL
from app.database.pipeline import ANSWER_MARGIN_SECONDS, Line, Lines, Lost
from app.database.statements import POSTGRESQL, Statement

# SQLSTATE → error. What is not listed is INTERNAL: it is our fault, not the client's.
_SQLSTATES: dict[str, type[errors.FlyteError]] = {
    "23505": errors.AlreadyExists,
    "22001": errors.InvalidArgument,  # value too long for type character varying(300)
    "22003": errors.InvalidArgument,  # integer out of range
    "22007": errors.InvalidArgument,  # invalid input syntax for a time
    "22008": errors.InvalidArgument,  # time out of range
    "22021": errors.InvalidArgument,  # invalid byte sequence
    "22025": errors.InvalidArgument,  # LIKE pattern must not end with escape character
    "22P02": errors.InvalidArgument,  # invalid text representation
    "54000": errors.InvalidArgument,  # index row size exceeds the maximum
    "40001": errors.Aborted,
    "40P01": errors.Aborted,
    "53100": errors.ResourceExhausted,
    "53200": errors.ResourceExhausted,
    "53300": errors.Unavailable,
    "57014": errors.DeadlineExceeded,
    "57P01": errors.Unavailable,
    "57P03": errors.Unavailable,
}


class PostgresDatabase(Database):
    """PostgreSQL: reads in autocommit, quick ones over a line that all share."""

    def __init__(
        self,
        url: str,
        *,
        connections_max: int,
        wait_seconds_max: float,
        statement_timeout_seconds: float,
        serves: bool = False,
    ) -> None:
        self._url = url
        self._connections_max = connections_max
        self._wait_seconds_max = wait_seconds_max
        self._statement_timeout_seconds = statement_timeout_seconds
        self._serves = serves
        self._lines: Lines | None = None
        self._growth: TableGrowth | None = None

    async def open(self) -> None:
        lines = Lines(
            self._url,
            lines_max=self._connections_max,
            wait_seconds_max=self._wait_seconds_max,
            answer_seconds_max=self._statement_timeout_seconds + ANSWER_MARGIN_SECONDS,
            options=f"-c timezone=UTC -c statement_timeout={int(self._statement_timeout_seconds * 1000)}",
            shared_sql=SERVE_SQL if self._serves else "",
        )
        try:
            await lines.shared()
        except psycopg.Error as error:
            raise errors.Unavailable(f"the database does not answer: {error}") from error
        self._lines, self._growth = lines, TableGrowth(lines)
        self._growth.start()

    async def close(self) -> None:
        if self._growth is not None:
            self._growth.close()
            self._growth = None
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def unit_of_work(self) -> UnitOfWork:
        if self._lines is None or self._growth is None:
            raise errors.Unavailable("the database is not open")
        return PostgresUnit(self._lines, self._growth)


class PostgresUnit(UnitOfWork):
    """Autocommit reads until begin takes a line until the end; BEGIN leaves with the first statement after it."""

    def __init__(self, lines: Lines, growth: TableGrowth) -> None:
        super().__init__()
        self._lines = lines
        self._growth = growth
        self._inserted: Counter[str] = Counter()
        self._line: Line | None = None

    async def begin(self) -> None:
        if self.writing:
            return
        try:
            self._line = await self._lines.take()
        except psycopg.Error as error:
            raise _error(error) from error
        self._line.begins = self.writing = True

    async def insert_if_absent(self, model: type[schema.Base], **values: Any) -> int | None:
        row_id = await super().insert_if_absent(model, **values)
        if row_id is not None:
            self._inserted[schema.table(model).name] += 1
        return row_id

    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        compiled = statement.compiled(POSTGRESQL)
        values = compiled.parameters(parameters)
        try:
            if self._line is not None:
                return await self._line.run(compiled, values, statement.planned)
            if statement.quick:
                return await (await self._lines.shared()).run_alone(compiled, values)
            line = await self._lines.take()
            try:
                return await line.run_alone(compiled, values, statement.planned)
            finally:
                self._lines.give_back(line)
        except psycopg.Error as error:
            raise _error(error) from error

    async def close(self, *, commit: bool) -> None:
        line, self._line = self._line, None
        assert line is not None
        try:
            if line.begins:
                # Nothing has been run.
                return
            if line.busy:
                # Cancelled in the middle of a statement.
                await line.cancel()
            tag = await line.command("COMMIT" if commit else "ROLLBACK")
            if commit and tag != b"COMMIT":
                # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error.
                raise errors.Internal("the transaction had failed before its commit")
            if commit and self._inserted:
                self._growth.add(self._inserted)
        except psycopg.Error as error:
            if commit:
                raise _error(error) from error
        finally:
            self._lines.give_back(line)


def _error(error: psycopg.Error) -> errors.FlyteError:
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return errors.InvalidArgument('invalid byte sequence for encoding "UTF8": 0x00')
    if isinstance(error, psycopg.errors.UniqueViolation):
        return already_exists(error.diag.constraint_name or "")
    kind = _SQLSTATES.get(error.sqlstate or "")
    if kind is not None:
        return kind(error.diag.message_primary or str(error))
    if isinstance(error, Lost):
        return errors.Unavailable(f"the database connection was lost: {error}")
    if isinstance(error, psycopg.OperationalError):
        return errors.Unavailable(f"the database does not answer: {error}")
    return errors.Internal("failed database operation")
