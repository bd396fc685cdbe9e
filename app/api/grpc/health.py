"""grpc.health.v1.Health: a server is SERVING as long as it answers.

Proto: grpc/health/v1/health.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from app import errors
from app.api.grpc.protocol import parse
from app.api.grpc.stream import RequestStream, StreamHandler

# The names that clients may ask for; "" stands for the whole server.
SERVICES = ("", "flyteadmin")


async def check(stream: RequestStream) -> AsyncIterator[Message]:
    """Yield the state of one of SERVICES. Raises NOT_FOUND for another name."""
    request = parse(health_pb2.HealthCheckRequest, await stream.read_one())
    if request.service not in SERVICES:
        raise errors.NotFound("unknown service")
    yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def watch(stream: RequestStream) -> AsyncIterator[Message]:
    """Yield the state of a service once, because it does not change, and stay open until the client disconnects."""
    request = parse(health_pb2.HealthCheckRequest, await stream.read_one())
    known = request.service in SERVICES
    state = health_pb2.HealthCheckResponse.SERVING if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    yield health_pb2.HealthCheckResponse(status=state)
    await stream.wait_for_disconnect()


STREAMS: dict[str, StreamHandler] = {"/grpc.health.v1.Health/Check": check, "/grpc.health.v1.Health/Watch": watch}
