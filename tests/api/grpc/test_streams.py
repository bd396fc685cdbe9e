"""Health and reflection through a real server, on grpcio's stubs and its reflection client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.service import admin_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from app.api.grpc.protocol import frame
from tests.api.edge import ADMIN, Edge, raw, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A server for every test of this module."""
    with serving(tmp_path_factory.mktemp("edge"), limits={"body_wait_seconds_max": 1.0}) as edge:
        yield edge


@pytest.fixture(scope="module")
def channel(edge: Edge) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(edge.target) as channel:
        yield channel


class TestHealth:
    @pytest.mark.parametrize("service", ["", "flyteadmin"])
    def test_this_server_serves(self, channel: grpc.Channel, service: str) -> None:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == SERVING

    def test_of_others_nothing_is_known(self, channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="other"))
        error: Any = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "unknown service")

    @pytest.mark.slow
    @pytest.mark.parametrize(("service", "status"), [("", 1), ("flyteadmin", 1), ("other", 3)])
    def test_watch_tells_at_once_and_lasts(self, channel: grpc.Channel, service: str, status: int) -> None:
        watch: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
        assert next(watch).status == status
        # Longer than the wait for a message, which is over: this stream is open for as long as its client.
        time.sleep(1.3)
        assert watch.is_active()
        watch.cancel()
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING

    def test_watch_ends_with_its_deadline(self, channel: grpc.Channel) -> None:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=0.5)
        assert next(watch).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_watch_ends_with_the_server(self, tmp_path: Path) -> None:
        with serving(tmp_path) as edge, grpc.insecure_channel(edge.target) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == SERVING
            edge.loop.call_soon_threadsafe(edge.grpc.close)
            with pytest.raises(grpc.RpcError) as caught:
                next(watch)
            error: Any = caught.value
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")


class TestReflection:
    def test_the_services_are_those_that_answer(self, channel: grpc.Channel) -> None:
        assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == {
            ADMIN,
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }

    def test_a_client_can_build_every_service_from_it(self, channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        for name in database.get_services():
            service = pool.FindServiceByName(name)
            assert service.methods
        described = descriptor_pb2.FileDescriptorProto()
        pool.FindFileByName("flyteidl/service/admin.proto").CopyToProto(described)
        original = descriptor_pb2.FileDescriptorProto()
        admin_pb2.DESCRIPTOR.CopyToProto(original)
        assert described == original

    def test_extensions(self, channel: grpc.Channel) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        # google.api.http, the option behind every REST form.
        extended, number = "google.protobuf.MethodOptions", 72295728
        one = reflection_pb2.ExtensionRequest(containing_type=extended, extension_number=number)
        numbers, file = stub.ServerReflectionInfo(
            iter(
                [
                    reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type=extended),
                    reflection_pb2.ServerReflectionRequest(file_containing_extension=one),
                ]
            )
        )
        assert number in numbers.all_extension_numbers_response.extension_number
        (first, *_) = map(
            descriptor_pb2.FileDescriptorProto.FromString, file.file_descriptor_response.file_descriptor_proto
        )
        assert first.name == "google/api/annotations.proto"

    @pytest.mark.parametrize("version", ["v1", "v1alpha"])
    def test_several_questions_on_one_stream(self, channel: grpc.Channel, version: str) -> None:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        symbols = [ADMIN, f"{ADMIN}.GetTask", "flyteidl.core.Identifier.project", "grpc.reflection.v1.ErrorResponse"]
        questions = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
        questions.append(reflection_pb2.ServerReflectionRequest(file_by_filename="flyteidl/core/literals.proto"))
        answers = list(ask(iter(questions)))
        assert [answer.original_request for answer in answers] == questions
        for answer, name in zip(
            answers,
            [
                "flyteidl/service/admin.proto",
                "flyteidl/service/admin.proto",
                "flyteidl/core/identifier.proto",
                "grpc_reflection/v1/reflection.proto",
                "flyteidl/core/literals.proto",
            ],
            strict=True,
        ):
            first = descriptor_pb2.FileDescriptorProto.FromString(
                answer.file_descriptor_response.file_descriptor_proto[0]
            )
            assert first.name == name

    @pytest.mark.parametrize(
        "question",
        [
            {"file_containing_symbol": "no.Such"},
            {"file_containing_symbol": f"{ADMIN}.NoMethod"},
            {"file_containing_symbol": ""},
            {"file_by_filename": "no/such.proto"},
            {"all_extension_numbers_of_type": "no.Such"},
        ],
    )
    def test_what_does_not_exist_is_not_found(self, channel: grpc.Channel, question: dict[str, str]) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(**question)
        (answer,) = stub.ServerReflectionInfo(iter([request]))
        assert answer.error_response.error_code == 5

    def test_a_broken_question_is_the_clients_fault(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send(V1, frame(b"\xff\xff")))
            assert (answer.code, answer.body) == (13, b"")

    @pytest.mark.slow
    def test_a_client_that_asks_nothing_is_not_waited_for(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send(V1, end=False))
            assert (answer.code, answer.message) == (4, "no message arrived within 1 seconds")

    def test_it_can_be_switched_off(self, tmp_path: Path) -> None:
        settings = {"grpc": {"server_reflection": False}}
        with serving(tmp_path, server=settings) as edge, raw(edge.port) as connection:
            answer = connection.answer(connection.send(V1, frame(b"")))
            assert answer.message == "unknown service grpc.reflection.v1.ServerReflection"
