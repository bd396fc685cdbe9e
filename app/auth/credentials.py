"""The parts of a request that prove an identity. An edge makes them where authentication is on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.auth.identity import Identity


@dataclass(slots=True)
class Credentials:
    """The headers of one HTTP request, or the metadata of one gRPC call.

    Attributes:
        transport: `http` for REST, pages and MCP; `grpc` for native gRPC. A client cannot choose it.
        headers: Names in lower case and values, in the order in which they arrived.
        scheme: `http` or `https`, as the client used it.
        method: The HTTP method; POST for gRPC.
        known: The caller, where the edge has authenticated the request already; the headers are then empty.
    """

    transport: Literal["http", "grpc"]
    headers: Sequence[tuple[bytes, bytes]]
    scheme: str = "http"
    method: str = "POST"
    known: Identity | None = None

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any], transport: Literal["http", "grpc"]) -> Credentials:
        """Return the credentials of an ASGI request."""
        return cls(transport, scope["headers"], scope["scheme"], scope["method"])

    @classmethod
    def of_metadata(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Credentials:
        """Return the credentials of a call that grpcio's server received."""
        headers = tuple(
            (k.encode(), v if isinstance(v, bytes) else v.encode("latin-1", "replace")) for k, v in metadata
        )
        return cls("grpc", headers)

    def first(self, name: bytes) -> str:
        """Return the first value of a header as text, "" where it is absent."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""
