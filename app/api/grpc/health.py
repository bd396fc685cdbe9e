"""grpc.health.v1.Health: a server is SERVING while it is ready (app/runtime/health.py).

Proto: grpc/health/v1/health.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from app import errors
from app.api.grpc.protocol import parse
from app.api.grpc.stream import RequestStream, StreamHandler
from app.runtime.health import Health

# The names that clients may ask for; "" stands for the whole server.
SERVICES = ("", "flyteadmin")
CHECK = "/grpc.health.v1.Health/Check"
# Readiness is checked this often for each client that watches it. Draining is reported at once.
WATCH_SECONDS = 5.0

_Status = health_pb2.HealthCheckResponse


async def status(health: Health) -> int:
    """Return SERVING when the process is ready, otherwise NOT_SERVING."""
    serving: int = _Status.NOT_SERVING if await health.failing() else _Status.SERVING
    return serving


def streams(health: Health) -> dict[str, StreamHandler]:
    """Return the handlers of the service by path."""

    async def check(stream: RequestStream) -> AsyncIterator[Message]:
        request = parse(health_pb2.HealthCheckRequest, await stream.read_one())
        if request.service not in SERVICES:
            raise errors.NotFound("unknown service")
        yield _Status(status=await status(health))

    async def watch(stream: RequestStream) -> AsyncIterator[Message]:
        request = parse(health_pb2.HealthCheckRequest, await stream.read_one())
        if request.service not in SERVICES:
            yield _Status(status=_Status.SERVICE_UNKNOWN)
            await stream.wait_for_disconnect()
            return
        disconnected = asyncio.ensure_future(stream.wait_for_disconnect())
        draining = asyncio.ensure_future(health.draining.wait())
        sent = None
        try:
            while not disconnected.done():
                now = await status(health)
                if now != sent:
                    yield _Status(status=now)
                    sent = now
                waited = (disconnected,) if draining.done() else (disconnected, draining)
                await asyncio.wait(waited, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnected.cancel()
            draining.cancel()

    return {CHECK: check, "/grpc.health.v1.Health/Watch": watch}
