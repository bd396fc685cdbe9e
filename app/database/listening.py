"""A connection to PostgreSQL that receives the notifications of a channel (LISTEN, NOTIFY).

Source: https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from app import errors

CHANNEL = "flyteadmin"


class Listener:
    """One connection that listens.

    Args:
        conninfo: URL or connection string of libpq.
        parameters: Further parameters of libpq.
        connect_seconds_max: Longest time to connect.
    """

    def __init__(self, conninfo: str, parameters: dict[str, Any], *, connect_seconds_max: float) -> None:
        self._conninfo = conninfo
        self._parameters = parameters
        self._connect_seconds_max = connect_seconds_max
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def open(self) -> None:
        """Connect and listen.

        Raises:
            Unavailable: The server cannot be reached, or refuses.
        """
        try:
            async with asyncio.timeout(self._connect_seconds_max):
                self._connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, **self._parameters
                )
                await self._connection.execute(f"LISTEN {CHANNEL}")
        except (psycopg.Error, TimeoutError) as error:
            raise errors.Unavailable(f"cannot listen to the database: {error or type(error).__name__}") from error

    async def received(self, seconds: float) -> Sequence[str]:
        """Wait for notifications and return their payloads; none after this time.

        Raises:
            Unavailable: The connection was lost.
        """
        assert self._connection is not None
        try:
            return [one.payload async for one in self._connection.notifies(timeout=seconds, stop_after=1)]
        except psycopg.Error as error:
            raise errors.Unavailable(f"the connection that listens was lost: {error}") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
