"""Requests of DataCatalog as FlytePropeller sends them."""

from __future__ import annotations

from typing import Any

from flyteidl.core import literals_pb2
from flyteidl.datacatalog import datacatalog_pb2 as pb

from app.services import catalog
from app.services.catalog import CacheKey

KEY = CacheKey("p", "d", "flyte_task-t", "1-aaaaaaaa-bbbbbbbb", "flyte_cached-x")
PRODUCER = {
    "exec-project": "p",
    "exec-domain": "d",
    "execution-name": "e1",
    "exec-node": "n0",
    "exec-attempt": "2",
}


def dataset_id(**changes: str) -> pb.DatasetID:
    return pb.DatasetID(
        **{
            "project": KEY.dataset_project,
            "domain": KEY.dataset_domain,
            "name": KEY.dataset_name,
            "version": KEY.dataset_version,
            **changes,
        }
    )


def literal(value: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar={"primitive": {"integer": value}})


def values(artifact: pb.Artifact) -> dict[str, int]:
    return {one.name: one.value.scalar.primitive.integer for one in artifact.data}


def data(**outputs: int) -> list[pb.ArtifactData]:
    return [pb.ArtifactData(name=name, value=literal(value)) for name, value in outputs.items()]


def create_dataset(*, partitions: tuple[str, ...] = (), **changes: str) -> pb.CreateDatasetRequest:
    metadata = pb.Metadata(key_map={"task-version": "v7"})
    return pb.CreateDatasetRequest(
        dataset=pb.Dataset(id=dataset_id(**changes), metadata=metadata, partitionKeys=partitions)
    )


def create_artifact(id: str = "a1", partitions: Any = (), **outputs: int) -> pb.CreateArtifactRequest:
    artifact = pb.Artifact(
        id=id, dataset=dataset_id(), data=data(**outputs), metadata=pb.Metadata(key_map=PRODUCER), partitions=partitions
    )
    return pb.CreateArtifactRequest(artifact=artifact)


def add_tag(name: str = KEY.tag, artifact_id: str = "a1") -> pb.AddTagRequest:
    return pb.AddTagRequest(tag=pb.Tag(name=name, artifact_id=artifact_id, dataset=dataset_id()))


def by_tag(name: str = KEY.tag) -> pb.GetArtifactRequest:
    return pb.GetArtifactRequest(dataset=dataset_id(), tag_name=name)


async def put(desk: Any, id: str = "a1", tag: str = KEY.tag, **outputs: int) -> None:
    """Cache outputs by the calls of FlytePropeller's Put, in a dataset that exists."""
    await desk.call(catalog.create_artifact, create_artifact(id, **outputs))
    await desk.call(catalog.add_tag, add_tag(tag, id))
