"""What the edge knows of one RPC: a row that the generator writes and both transports read.

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

    shape: verb in upper case; template with dotted field paths in braces, e.g.
           /api/v1/tasks/{id.project}/{id.domain}; body true where the HTTP body is the whole message.
    """

    verb: str
    template: str
    body: bool = False

    @property
    def variables(self) -> list[str]:
        """The dotted field paths of the template, in its order."""
        return VARIABLE.findall(self.template)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC: its full service name, its name, the function that serves it and its REST bindings.

    immutable: whether a successful reply stays the same for ever and for everybody (dispatch.cached_reply).
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
        """The gRPC path, /flyteidl.service.AdminService/GetTask."""
        return f"/{self.service}/{self.name}"


async def unimplemented(ctx: Context, request: Message) -> Message:
    """Stands in a row whose function is still to come."""
    raise errors.Unimplemented(f"{request.DESCRIPTOR.name} is not served yet")
