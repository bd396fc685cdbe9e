"""Errors that are sent outside of REST's routes: as JSON, as REST sends them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Send

from app import errors
from app.api.status import http_status
from app.wire.codecs import CAMEL_JSON

# RFC 6750 3: what the value of a parameter cannot have.
_NOT_QUOTABLE = re.compile(r"[^ !#-\[\]-~]")

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply to a request that is not served: an HTTP status and an error."""

    status: int
    error: errors.FlyteError

    def response(self) -> tuple[Headers, bytes]:
        """Return the headers and the body of the reply."""
        body = CAMEL_JSON.write_error(self.error)
        return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body


def challenge(error: errors.FlyteError, **parameters: str) -> tuple[bytes, bytes]:
    """Return the header WWW-Authenticate of a 401 reply, as RFC 6750 has it.

    Deviates: upstream's header is the error's message, without a scheme.

    Args:
        error: The error, whose message becomes the description.
        parameters: Further parameters, such as `resource_metadata` of RFC 9728.
    """
    parameters = {"realm": "flyteadmin", **parameters, "error": "invalid_token", "error_description": error.message}
    parts = ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items())
    return b"www-authenticate", f"Bearer {parts}".encode()


def _quoted(value: str) -> str:
    """Return a text without the characters that a quoted parameter of RFC 6750 cannot have."""
    return "".join(
        "'" if letter == '"' else letter if " " <= letter <= "~" and letter != "\\" else "?" for letter in value
    )


async def refuse(
    send: Send, error: errors.FlyteError, headers: Iterable[tuple[bytes, bytes]] = (), *, status: int | None = None
) -> None:
    """Send an error by ASGI.

    Args:
        send: The ASGI callable.
        error: The error.
        headers: Further headers of the reply.
        status: The HTTP status, by default that of the error's code.
    """
    refusal = Refusal(status or http_status(error.code), error)
    about, body = refusal.response()
    await send({"type": "http.response.start", "status": refusal.status, "headers": [*about, *headers]})
    await send({"type": "http.response.body", "body": body})
