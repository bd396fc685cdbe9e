"""DataCatalog over a real socket: the calls of FlytePropeller's catalog client, and reflection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from flyteidl.datacatalog import datacatalog_pb2 as pb
from flyteidl.datacatalog import datacatalog_pb2_grpc
from grpc import StatusCode, aio

from app.api import routers
from app.api.grpc import grpcio_server
from app.api.grpc.reflection import streams
from tests.api.edge import server_of
from tests.services.catalog.requests import add_tag, by_tag, create_artifact, create_dataset, dataset_id, values


@pytest.mark.heavy
def test_a_client_caches_outputs(tmp_path: Path) -> None:
    async def main() -> None:
        server = server_of(tmp_path)
        await server.database.open()
        running, port = await grpcio_server.start(server, routers.ALL, "127.0.0.1:0")
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = datacatalog_pb2_grpc.DataCatalogStub(channel)
                with pytest.raises(aio.AioRpcError) as caught:
                    await stub.GetDataset(pb.GetDatasetRequest(dataset=dataset_id()))
                assert caught.value.code() == StatusCode.NOT_FOUND
                await stub.CreateDataset(create_dataset())
                with pytest.raises(aio.AioRpcError) as caught:
                    await stub.CreateDataset(create_dataset())
                assert caught.value.code() == StatusCode.ALREADY_EXISTS
                reservation = pb.ReservationID(dataset_id=dataset_id(), tag_name=by_tag().tag_name)
                request = pb.GetOrExtendReservationRequest(reservation_id=reservation, owner_id="o")
                assert (await stub.GetOrExtendReservation(request)).reservation.owner_id == "o"
                await stub.CreateArtifact(create_artifact(o0=3))
                await stub.AddTag(add_tag())
                await stub.ReleaseReservation(pb.ReleaseReservationRequest(reservation_id=reservation, owner_id="o"))
                assert values((await stub.GetArtifact(by_tag())).artifact) == {"o0": 3}
                assert len((await stub.ListArtifacts(pb.ListArtifactsRequest(dataset=dataset_id()))).artifacts) == 1
                assert len((await stub.ListDatasets(pb.ListDatasetsRequest())).datasets) == 1
        finally:
            await running.stop(1)
            await server.database.close()

    asyncio.run(main())


def test_reflection_has_its_messages() -> None:
    assert streams({"datacatalog.DataCatalog"})
    assert {rpc.path for rpc in routers.catalog.RPCS} == {
        f"/datacatalog.DataCatalog/{method.name}" for method in pb.DESCRIPTOR.services_by_name["DataCatalog"].methods
    }
