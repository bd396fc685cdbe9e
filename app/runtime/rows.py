"""One row per RPC: its function, messages and REST bindings. The generator writes the rows, and every edge reads them.

Proto: flyteidl/service/{admin,dataproxy,signal,identity,auth}.proto and their google.api.http options.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from app import errors
from app.runtime.context import Context
from app.wire.page import Page

Function = Callable[[Context, Any], Awaitable[Message | Page[Any]]]

VARIABLE = re.compile(r"\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One REST form of an RPC.

    Attributes:
        verb: The HTTP method, in upper case.
        template: The path with dotted field paths in braces, such as /api/v1/tasks/{id.project}/{id.domain}.
        body: Whether the HTTP body is the whole message.
    """

    verb: str
    template: str
    body: bool = False

    @property
    def variables(self) -> list[str]:
        """Return the dotted field paths of the template, in its order."""
        return VARIABLE.findall(self.template)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC.

    Attributes:
        service: The full name of the service.
        function: The service function.
        writes: Whether the function changes the database.
        immutable: Whether a successful reply is the same for every caller at any time (dispatch.cached_reply).
    """

    service: str
    name: str
    function: Function
    request: type[Message]
    response: type[Message]
    bindings: tuple[Binding, ...] = ()
    writes: bool = False
    immutable: bool = False

    @property
    def path(self) -> str:
        """Return the gRPC path, such as /flyteidl.service.AdminService/GetTask."""
        return f"/{self.service}/{self.name}"


async def unimplemented(ctx: Context, request: Message) -> Message:
    """Serve an RPC that has no function yet. Raises UNIMPLEMENTED."""
    raise errors.Unimplemented(f"{request.DESCRIPTOR.name} is not served yet")
