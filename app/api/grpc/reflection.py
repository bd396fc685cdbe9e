"""Server reflection, v1 and v1alpha: grpcurl, ghz and Postman read the proto files from the server.

Both versions have the same messages. grpcio-reflection has only v1alpha: its servicer answers both, and the
descriptor of v1 is derived from that of v1alpha. Proto: grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from flyteidl.datacatalog import datacatalog_pb2
from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from app.api.grpc.protocol import parse
from app.api.grpc.stream import RequestStream, StreamHandler

_FILES = tuple(
    module.DESCRIPTOR
    for module in (
        admin_pb2,
        auth_pb2,
        datacatalog_pb2,
        dataproxy_pb2,
        health_pb2,
        identity_pb2,
        reflection_pb2,
        signal_pb2,
    )
)
_ALPHA = reflection.SERVICE_NAME
_V1 = _ALPHA.replace("v1alpha", "v1")


def streams(services: Iterable[str]) -> dict[str, StreamHandler]:
    """Return the handlers of both versions by path.

    Args:
        services: The full names of the other services to list.
    """
    names = [*services, _ALPHA, _V1]
    pool = _pool()
    # The stubs of grpcio-reflection wrongly declare that the servicer returns None.
    servicer: Any = reflection.ReflectionServicer(names, pool=pool)

    async def info(stream: RequestStream) -> AsyncIterator[Message]:
        while (payload := await stream.read()) is not None:
            request = parse(reflection_pb2.ServerReflectionRequest, payload)
            for response in servicer.ServerReflectionInfo(iter([_by_service(pool, request)]), None):
                response.original_request.CopyFrom(request)
                yield response

    return {f"/{service}/ServerReflectionInfo": info for service in (_ALPHA, _V1)}


def _by_service(pool: descriptor_pool.DescriptorPool, request: Any) -> Any:
    """Turn a request for a method into one for its service, because Python's pool finds no file by a method."""
    symbol = request.file_containing_symbol
    try:
        service = pool.FindMethodByName(symbol).containing_service
    except KeyError:
        return request
    return reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name)


def _pool() -> descriptor_pool.DescriptorPool:
    """Return a pool of the services' files and their imports, without the other files that the process has loaded."""
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
