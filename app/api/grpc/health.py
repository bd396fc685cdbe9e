"""grpc.health.v1.Health: this server serves as long as it answers.

Proto: grpc/health/v1/health.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from app import errors
from app.api.grpc.wire import parsed

if TYPE_CHECKING:
    from app.api.grpc.app import Messages

SERVICES = ("", "flyteadmin")


async def check(messages: Messages) -> AsyncIterator[Message]:
    """The state of a service of SERVICES. errors: NOT_FOUND for any other."""
    request = parsed(health_pb2.HealthCheckRequest, await messages.one())
    if request.service not in SERVICES:
        raise errors.NotFound("unknown service")
    yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def watch(messages: Messages) -> AsyncIterator[Message]:
    """The state of a service at once and, as it does not change before the server ends, never again."""
    request = parsed(health_pb2.HealthCheckRequest, await messages.one())
    known = request.service in SERVICES
    state = health_pb2.HealthCheckResponse.SERVING if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    yield health_pb2.HealthCheckResponse(status=state)
    await messages.gone()


STREAMS = {"/grpc.health.v1.Health/Check": check, "/grpc.health.v1.Health/Watch": watch}
