"""Query, body and reply of the pages that take and return JSON: roles and schedules."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.api.rest.exchange import ClientDisconnected, read_body
from app.settings import Settings

BODY_BYTES_MAX = 16 * 1024
PAGE_ROWS_MAX = 1000
# Digits of a number in a query with leading zeros, where the largest number has fewer.
_DIGITS_MAX = 10


async def read(request: Request, settings: Settings) -> bytes:
    """Return the body of a request.

    Raises:
        FlyteError: RESOURCE_EXHAUSTED above BODY_BYTES_MAX; DEADLINE_EXCEEDED and CANCELED for a body that does not
            arrive.
    """
    try:
        return await read_body(request.receive, BODY_BYTES_MAX, settings.limits.body_wait_seconds_max, _too_large)
    except ClientDisconnected as error:
        raise errors.Canceled("the body ended early") from error


def number(text: str, name: str, least: int, most: int) -> int:
    """Return a number of the query. Raises INVALID_ARGUMENT, which names it, outside of the bounds."""
    digits_max = max(_DIGITS_MAX, len(str(most)))
    if not (text.isascii() and text.isdigit()) or len(text) > digits_max or not least <= int(text) <= most:
        raise errors.InvalidArgument(f"{name} [{text[:40]}] must be a number from {least} to {most}")
    return int(text)


def reply(value: Any) -> Response:
    """Return a value as JSON that nobody stores."""
    return Response(orjson.dumps(value), media_type="application/json", headers={"cache-control": "no-store"})


def _too_large(size_bytes: int) -> errors.FlyteError:
    return errors.ResourceExhausted(f"the body may have {BODY_BYTES_MAX} bytes, this one has {size_bytes} or more")
