"""gRPC by grpcio's server, on a port of its own, for machines for which zttp has no wheel; a third as fast.

It serves the same RPCs and health service as app/api/grpc/app.py, and reflection v1alpha.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from app import errors
from app.api.grpc import protocol
from app.api.grpc.app import authenticate_health_check, registered
from app.api.grpc.health import CHECK, SERVICES, status
from app.auth.credentials import Credentials
from app.runtime import dispatch
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from app.wire.page import message_of

_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def start(
    server: Server, rpcs: tuple[Rpc, ...], address: str, credentials: grpc.ServerCredentials | None = None
) -> tuple[aio.Server, int]:
    """Start a server and return it with its port; the caller stops it.

    Args:
        server: The process.
        rpcs: The RPCs to serve.
        address: host:port; port 0 takes a free one.
        credentials: The certificate of TLS; None serves without TLS.

    Raises:
        RuntimeError: The address cannot be used.
    """
    bytes_max = server.settings.request_body_bytes_max
    grpc_server = aio.server(options=[("grpc.max_receive_message_length", bytes_max)])
    methods: dict[str, dict[str, Any]] = defaultdict(dict)
    for rpc in registered(server.settings, rpcs):
        methods[rpc.service][rpc.name] = _handler(server, rpc)
    for service, handlers in methods.items():
        grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    servicer = _health_servicer(server)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, grpc_server)
    if server.settings.server.grpc.server_reflection:
        reflection.enable_server_reflection([*methods, health.SERVICE_NAME, reflection.SERVICE_NAME], grpc_server)
    if credentials is None:
        port = grpc_server.add_insecure_port(address)
    else:
        port = grpc_server.add_secure_port(address, credentials)
    await grpc_server.start()
    return grpc_server, port


def _health_servicer(server: Server) -> Any:
    class Servicer(health.aio.HealthServicer):  # type: ignore[name-defined,misc]  # The stubs lack grpc_health's aio.
        async def Check(self, request: Any, context: Any) -> Any:
            try:
                await authenticate_health_check(server, CHECK, _credentials(server, context))
            except errors.FlyteError as error:
                await context.abort(_CODES[error.code], error.message)
            await self._update()
            return await super().Check(request, context)

        async def Watch(self, request: Any, context: Any) -> None:
            await self._update()
            await super().Watch(request, context)

        async def _update(self) -> None:
            for service in SERVICES:
                await self.set(service, await status(server.health))

    return Servicer()


def _credentials(server: Server, context: Any) -> Credentials | None:
    return None if server.auth is None else Credentials.of_metadata(context.invocation_metadata())


def _address(peer: str) -> str:
    """Return the address of a grpcio peer such as ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000; "" for another kind."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _handler(server: Server, rpc: Rpc) -> Any:
    async def serve(request: Message, context: Any) -> Message:
        metadata = context.invocation_metadata()
        fields = dict(metadata)
        # No layer in front of this server authenticates its callers, who choose the metadata. grpcio does not show the
        # name by which the client called: without an endpoint, signed links have server.publicUrl.
        call = Call(
            rpc,
            _credentials(server, context),
            request_id=protocol.request_id(fields.get("x-request-id", "")),
            caller=_address(context.peer()),
        )
        try:
            return message_of(await dispatch.call(server, call, request))
        except errors.FlyteError as error:
            status = protocol.status(error)
        details = (("grpc-status-details-bin", status.SerializeToString()),) if status.details else ()
        await context.abort(_CODES[status.code], status.message, details)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(serve, rpc.request.FromString, rpc.response.SerializeToString)
