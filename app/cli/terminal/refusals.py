"""Advice after a refusal of the server that is about an execution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.client import CallRefused, RestClient
from app.cli.program import program
from app.cli.terminal.places import ExecutionAddress
from app.settings import BadSetting


@contextmanager
def advised(client: RestClient, place: ExecutionAddress, *, missing: str = "") -> Iterator[None]:
    """Append the command that helps to a refusal of the block.

    Args:
        client: The client.
        place: The execution.
        missing: Replaces the server's message where it has no such execution.

    Raises:
        CallRefused: The server refuses.
    """
    try:
        yield
    except CallRefused as error:
        if error.status == 404:
            if not missing and "type execution" in str(error):
                missing = f"there is no execution {place}"
            message = (
                f"{missing or error}; see the latest ones with `{program()} get -p {place.project} -d {place.domain}`"
            )
        elif error.status in (400, 409):
            message = f"{error}; see its state with `{program()} get {place.shown(client)}`"
        else:
            raise
        raise CallRefused(message, error.status, error.code) from error


def taken(place: ExecutionAddress) -> BadSetting:
    """Return the refusal of a name that another execution has."""
    return BadSetting(f"{place.project}/{place.domain} has an execution {place.name} already; give another --name")
