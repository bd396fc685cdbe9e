"""Server reflection, v1 and v1alpha, so that grpcurl, ghz and Postman need no proto files.

Both versions have the same messages on the wire. The servicer and its messages are grpcio-reflection's (v1alpha);
v1's own description is made from it. Proto: grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from app.api.grpc.wire import parsed

if TYPE_CHECKING:
    from app.api.grpc.app import Messages

_FILES = tuple(
    module.DESCRIPTOR
    for module in (admin_pb2, auth_pb2, dataproxy_pb2, health_pb2, identity_pb2, reflection_pb2, signal_pb2)
)
_ALPHA = reflection.SERVICE_NAME
_V1 = _ALPHA.replace("v1alpha", "v1")


def streams(services: Iterable[str]) -> dict[str, Callable[[Messages], AsyncIterator[Message]]]:
    """The two versions of ServerReflectionInfo over these services and themselves, by path."""
    names = [*services, _ALPHA, _V1]
    pool = _pool()
    # Its stubs say that the servicer returns None.
    servicer: Any = reflection.ReflectionServicer(names, pool=pool)

    async def info(messages: Messages) -> AsyncIterator[Message]:
        while (payload := await messages.next()) is not None:
            request = parsed(reflection_pb2.ServerReflectionRequest, payload)
            for response in servicer.ServerReflectionInfo(iter([_of_service(pool, request)]), None):
                response.original_request.CopyFrom(request)
                yield response

    return {f"/{service}/ServerReflectionInfo": info for service in (_ALPHA, _V1)}


def _of_service(pool: descriptor_pool.DescriptorPool, request: Any) -> Any:
    """The request, where it asks for a method asking for its service: Python's pool finds no file by a method."""
    symbol = request.file_containing_symbol
    try:
        service = pool.FindMethodByName(symbol).containing_service
    except KeyError:
        return request
    return reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name)


def _pool() -> descriptor_pool.DescriptorPool:
    """The files that describe the services and what those import: nothing else of the process is shown."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: descriptor.FileDescriptor) -> None:
        if file.name not in added:
            added.add(file.name)
            for dependency in file.dependencies:
                add(dependency)
            pool.AddSerializedFile(file.serialized_pb)

    for file in _FILES:
        add(file)
    alpha = text_format.MessageToString(
        descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    )
    v1 = text_format.Parse(alpha.replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto())
    v1.options.ClearField("deprecated")
    pool.AddSerializedFile(v1.SerializeToString())
    return pool
