"""The RPCs of DataCatalog, called as FlytePropeller and other clients call them, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flyteidl.core import literals_pb2
from flyteidl.datacatalog import datacatalog_pb2 as pb

from app import errors
from app.auth.caller_access import Access
from app.auth.roles import CallerRole, Permissions, Role
from app.database.catalog_tables import CatalogArtifact, CatalogTag
from app.services import catalog
from tests.services.catalog.requests import (
    KEY,
    PRODUCER,
    add_tag,
    by_tag,
    create_artifact,
    create_dataset,
    data,
    dataset_id,
    literal,
    put,
    values,
)

Bench = Callable[..., Any]


async def refused(desk: Any, function: Any, request: Any) -> errors.FlyteError:
    with pytest.raises(errors.FlyteError) as caught:
        await desk.call(function, request)
    return caught.value


def test_what_propeller_puts_it_gets(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        missing = await refused(desk, catalog.get_dataset, pb.GetDatasetRequest(dataset=dataset_id()))
        assert missing.code == errors.NotFound.code
        assert missing.message.startswith("missing entity of type Dataset with identifier project:")
        await desk.call(catalog.create_dataset, create_dataset())
        assert (await refused(desk, catalog.create_dataset, create_dataset())).code == errors.AlreadyExists.code
        found = (await desk.call(catalog.get_dataset, pb.GetDatasetRequest(dataset=dataset_id()))).dataset
        assert found.metadata.key_map == {"task-version": "v7"}
        assert found.id.UUID

        assert (await refused(desk, catalog.get_artifact, by_tag())).code == errors.NotFound.code
        await desk.call(catalog.create_artifact, create_artifact(o0=3, o1=4))
        assert (await refused(desk, catalog.get_artifact, by_tag())).code == errors.NotFound.code
        again = await refused(desk, catalog.create_artifact, create_artifact(o0=9))
        assert again.code == errors.AlreadyExists.code
        await desk.call(catalog.add_tag, add_tag())
        assert (await refused(desk, catalog.add_tag, add_tag())).code == errors.AlreadyExists.code

        for request in (
            by_tag(),
            pb.GetArtifactRequest(dataset=found.id, artifact_id="a1"),
            pb.GetArtifactRequest(artifact_id="a1"),
        ):
            artifact = (await desk.call(catalog.get_artifact, request)).artifact
            assert (artifact.id, artifact.dataset, values(artifact)) == ("a1", found.id, {"o0": 3, "o1": 4})
            assert artifact.metadata.key_map == PRODUCER
            assert [(tag.name, tag.artifact_id) for tag in artifact.tags] == [(KEY.tag, "a1")]
            assert artifact.created_at.seconds > 1_700_000_000

    bench(scenario)


def test_a_uuid_is_that_of_the_dataset(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset(UUID="u"))
        good, bad = (pb.GetDatasetRequest(dataset=dataset_id(UUID=uuid)) for uuid in ("u", "v"))
        assert (await desk.call(catalog.get_dataset, good)).dataset.id.UUID == "u"
        assert (await refused(desk, catalog.get_dataset, bad)).code == errors.NotFound.code

    bench(scenario)


def test_new_data_keeps_the_artifact(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        update = pb.UpdateArtifactRequest(
            dataset=dataset_id(),
            tag_name=KEY.tag,
            data=data(o0=8),
            metadata=pb.Metadata(key_map={**PRODUCER, "execution-name": "e2"}),
        )
        assert (await refused(desk, catalog.update_artifact, update)).code == errors.NotFound.code
        await put(desk, o0=3, o1=4)
        before = (await desk.call(catalog.get_artifact, by_tag())).artifact
        assert (await desk.call(catalog.update_artifact, update)).artifact_id == "a1"
        after = (await desk.call(catalog.get_artifact, by_tag())).artifact
        assert (values(after), after.metadata.key_map["execution-name"]) == ({"o0": 8}, "e2")
        assert (after.created_at, after.tags) == (before.created_at, before.tags)

    bench(scenario)


def test_the_engines_share_what_they_cache(bench: Bench) -> None:
    """An artifact of a client is one of the local engine, and the reverse."""

    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        await put(desk, o0=3)
        async with desk.context() as ctx:
            row: Any = await catalog.find_artifact(ctx.db, KEY)
            content = await desk.blobs.read(row.output_uri, bytes_max=0)
        assert literals_pb2.LiteralMap.FromString(content).literals["o0"] == literal(3)
        assert sha256(content).digest() == row.digest
        assert (row.task_version, row.execution_name, row.node_id, row.retry_attempt) == ("v7", "e1", "n0", 2)

        outputs = literals_pb2.LiteralMap(literals={"o0": literal(5)}).SerializeToString(deterministic=True)
        uri = desk.blobs.uri("metadata", "outputs.pb")
        await desk.blobs.write(uri, outputs)
        entry = {
            "artifact_id": "local",
            "output_uri": uri,
            "digest": sha256(outputs).digest(),
            "task_version": "v8",
            "execution_project": "p",
            "execution_domain": "d",
            "execution_name": "e3",
            "node_id": "n1",
            "retry_attempt": 0,
        }
        other = KEY._replace(dataset_name="flyte_task-local", tag="y")
        async with desk.context() as ctx:
            await catalog.store_artifact(ctx.db, other, entry, overwrite=False)
            await catalog.store_artifact(ctx.db, KEY, entry, overwrite=True)
        dataset = dataset_id(name="flyte_task-local")
        found = (await desk.call(catalog.get_dataset, pb.GetDatasetRequest(dataset=dataset))).dataset
        assert found.metadata.key_map == {"task-version": "v8"}
        request = pb.GetArtifactRequest(dataset=dataset, tag_name="y")
        for one, id in ((request, "local"), (by_tag(), "a1")):
            artifact = (await desk.call(catalog.get_artifact, one)).artifact
            assert (artifact.id, values(artifact)) == (id, {"o0": 5})
            assert artifact.metadata.key_map["execution-name"] == "e3"

    bench(scenario)


def test_an_artifact_without_its_data_is_a_miss(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        await put(desk, o0=3)
        async with desk.context() as ctx:
            await ctx.db.update(CatalogArtifact, {"artifact_id": "a1"}, output_uri=desk.blobs.uri("gone"))
        assert (await refused(desk, catalog.get_artifact, by_tag())).code == errors.NotFound.code
        await put(desk, "a2", o0=4)
        assert values((await desk.call(catalog.get_artifact, by_tag())).artifact) == {"o0": 4}

    bench(scenario)


def test_a_tag_of_a_deleted_artifact_can_be_given_again(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        await put(desk, o0=3)
        async with desk.context() as ctx:
            # As a deletion leaves it that runs at the same time as AddTag.
            await ctx.db.delete(CatalogArtifact, artifact_id="a1")
            assert await ctx.db.count(CatalogTag) == 1
        await put(desk, "a2", o0=4)
        assert (await desk.call(catalog.get_artifact, by_tag())).artifact.id == "a2"

    bench(scenario)


def test_of_many_at_once_one_has_the_tag(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        for number in range(8):
            await desk.call(catalog.create_artifact, create_artifact(f"a{number}", o0=number))
        calls = (desk.call(catalog.add_tag, add_tag(artifact_id=f"a{number}")) for number in range(8))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(one, errors.AlreadyExists) for one in results) == 7
        winner = next(number for number, one in enumerate(results) if not isinstance(one, Exception))
        assert (await desk.call(catalog.get_artifact, by_tag())).artifact.id == f"a{winner}"

    bench(scenario)


def lists(request: Any, **fields: Any) -> Any:
    request.pagination.limit = fields.pop("limit", 0)
    request.pagination.token = fields.pop("token", "")
    request.pagination.sortOrder = fields.pop("order", 0)
    request.filter.filters.extend(pb.SinglePropertyFilter(**one) for one in fields.pop("filters", ()))
    return request


def test_lists_are_pages_in_the_order_of_creation(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset(partitions=("day",)))
        for number in range(5):
            day = [pb.Partition(key="day", value=str(number % 2))]
            await desk.call(catalog.create_artifact, create_artifact(f"a{number}", day, o0=number))
        await desk.call(catalog.add_tag, add_tag("t", "a3"))

        async def ids(**fields: Any) -> tuple[list[str], str]:
            request = lists(pb.ListArtifactsRequest(dataset=dataset_id()), **fields)
            page = await desk.call(catalog.list_artifacts, request)
            assert all(values(one) == {"o0": int(one.id[1:])} for one in page.artifacts)
            return [one.id for one in page.artifacts], page.next_token

        assert await ids() == (["a4", "a3", "a2", "a1", "a0"], "")
        assert (await ids(order=1))[0] == ["a0", "a1", "a2", "a3", "a4"]
        found, token = await ids(limit=2)
        assert found == ["a4", "a3"]
        found, token = await ids(limit=2, token=token)
        assert found == ["a2", "a1"]
        assert await ids(limit=2, token=token) == (["a0"], "")
        assert (await ids(filters=[{"tag_filter": {"tag_name": "t"}}]))[0] == ["a3"]
        odd = {"partition_filter": {"key_val": {"key": "day", "value": "1"}}}
        assert (await ids(filters=[odd]))[0] == ["a3", "a1"]
        assert (await ids(filters=[odd, {"tag_filter": {"tag_name": "other"}}]))[0] == []

        other = await refused(desk, catalog.list_artifacts, pb.ListArtifactsRequest(dataset=dataset_id(name="x")))
        assert other.code == errors.NotFound.code
        for number in range(3):
            await desk.call(catalog.create_dataset, create_dataset(name=f"n{number}", domain="e"))
        where = [{"dataset_filter": {"domain": "e"}}]
        page = await desk.call(catalog.list_datasets, lists(pb.ListDatasetsRequest(), limit=2, filters=where))
        assert [one.id.name for one in page.datasets] == ["n2", "n1"]
        page = await desk.call(catalog.list_datasets, lists(pb.ListDatasetsRequest(), token=page.next_token))
        assert [one.id.name for one in page.datasets] == ["n0", KEY.dataset_name]
        assert list(page.datasets[1].partitionKeys) == ["day"]

    bench(scenario, datacatalog={"page_rows_max": 50})


def test_a_list_has_the_datasets_that_its_caller_may_see(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        for domain in ("d", "e"):
            await desk.call(catalog.create_dataset, create_dataset(domain=domain))
        async with desk.context() as ctx:
            grants = Permissions((CallerRole(Role.VIEW, "p", "e"),))
            ctx.access = Access(grants, None, None)  # type: ignore[arg-type]
            page = await catalog.list_datasets(ctx, pb.ListDatasetsRequest())
        assert [one.id.domain for one in page.datasets] == ["e"]

    bench(scenario)


LONG = "x" * 2000
REFUSALS: list[tuple[Any, Any, str]] = [
    (catalog.create_dataset, pb.CreateDatasetRequest(), "missing dataset"),
    (catalog.create_dataset, create_dataset(project=""), "missing project"),
    (catalog.create_dataset, create_dataset(version=""), "missing version"),
    (catalog.create_dataset, create_dataset(name="a\0b"), "invalid value for name"),
    (catalog.create_dataset, create_dataset(name=LONG), "(datacatalog.keyBytesMax)"),
    (catalog.create_dataset, create_dataset(partitions=("k", "k")), "Keys are not unique"),
    (catalog.get_dataset, pb.GetDatasetRequest(dataset=pb.DatasetID(project="p")), "missing domain"),
    (catalog.create_artifact, pb.CreateArtifactRequest(), "missing artifact"),
    (catalog.create_artifact, create_artifact("", o0=1), "missing artifactID"),
    (catalog.create_artifact, create_artifact(LONG, o0=1), "(datacatalog.keyBytesMax)"),
    (catalog.create_artifact, create_artifact(), "missing artifactData"),
    (catalog.create_artifact, create_artifact("a9", [pb.Partition(key="k", value="v")], o0=1), "key mismatch"),
    (catalog.get_artifact, pb.GetArtifactRequest(dataset=dataset_id()), "missing one of artifactID/tagName"),
    (catalog.get_artifact, pb.GetArtifactRequest(tag_name="t"), "missing dataset"),
    (catalog.get_artifact, pb.GetArtifactRequest(dataset=dataset_id(), artifact_id=""), "missing artifactID"),
    (catalog.update_artifact, pb.UpdateArtifactRequest(dataset=dataset_id(), tag_name="x"), "missing artifactData"),
    (catalog.add_tag, pb.AddTagRequest(), "missing tag"),
    (catalog.add_tag, add_tag(""), "missing tagName"),
    (catalog.add_tag, add_tag("t", ""), "missing artifactID"),
    (catalog.list_artifacts, lists(pb.ListArtifactsRequest(dataset=dataset_id()), token="x"), "Invalid token"),
    (catalog.list_datasets, lists(pb.ListDatasetsRequest(), order=7), "Invalid sort order 7"),
    (
        catalog.list_datasets,
        lists(pb.ListDatasetsRequest(), filters=[{"tag_filter": {"tag_name": "t"}}]),
        "Dataset cannot be filtered by Tag",
    ),
    (
        catalog.list_artifacts,
        lists(pb.ListArtifactsRequest(dataset=dataset_id()), filters=[{"dataset_filter": {"name": "t"}}]),
        "Artifact cannot be filtered by Dataset",
    ),
    (
        catalog.list_artifacts,
        lists(pb.ListArtifactsRequest(dataset=dataset_id()), filters=[{"artifact_filter": {"artifact_id": "a"}}]),
        "no such entity",
    ),
]


def test_refusals_name_what_is_wrong(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        for function, request, part in REFUSALS:
            error = await refused(desk, function, request)
            assert (error.code, part in error.message) == (errors.InvalidArgument.code, True), (request, error.message)
        await desk.call(catalog.create_artifact, create_artifact(o0=1))
        for number in range(2):
            await desk.call(catalog.add_tag, add_tag(f"t{number}"))
        assert (await refused(desk, catalog.add_tag, add_tag("t2"))).code == errors.ResourceExhausted.code
        unknown = await refused(desk, catalog.add_tag, add_tag("t", "nobody"))
        assert unknown.code == errors.NotFound.code

    bench(scenario, datacatalog={"artifact_tags_max": 2})


def test_data_is_as_large_as_outputs_may_be(bench: Bench) -> None:
    async def scenario(desk: Any) -> None:
        await desk.call(catalog.create_dataset, create_dataset())
        request = create_artifact(o0=1)
        request.artifact.data[0].value.scalar.primitive.string_value = "x" * (1024 * 1024)
        error = await refused(desk, catalog.create_artifact, request)
        assert "storage.limits.maxDownloadMBs" in error.message

    bench(scenario, storage={"limits": {"max_download_mbs": 1}})
