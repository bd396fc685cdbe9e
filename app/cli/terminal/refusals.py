"""Advice after a refusal of the server that is about an execution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.client import CallRefused, RestClient
from app.cli.program import program
from app.cli.terminal.places import ExecutionAddress


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
            message = (
                f"{missing or error}; see the latest ones with `{program()} get -p {place.project} -d {place.domain}`"
            )
        elif error.status in (400, 409):
            message = f"{error}; see its state with `{program()} get {place.shown(client)}`"
        else:
            raise
        raise CallRefused(message, error.status, error.code) from error
