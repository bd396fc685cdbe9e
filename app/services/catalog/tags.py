"""The RPC AddTag. Source: datacatalog/pkg/manager/impl/tag_manager.go."""

from __future__ import annotations

from flyteidl.datacatalog import datacatalog_pb2

from app import errors
from app.database.base import already_exists
from app.database.catalog_tables import CatalogTag
from app.runtime.context import Context
from app.services.catalog import data
from app.services.catalog.artifacts import find_by_id
from app.services.catalog.datasets import find_dataset
from app.services.catalog.entries import delete_artifact, find_artifact, take_tag
from app.services.catalog.keys import CacheKey, check_length, checked, dataset_key


async def add_tag(ctx: Context, request: datacatalog_pb2.AddTagRequest) -> datacatalog_pb2.AddTagResponse:
    """Give an artifact a further tag.

    Raises:
        errors.InvalidArgument: The tag, its name, its artifact or a part of its dataset's id is missing.
        errors.NotFound: The dataset has not this artifact.
        errors.ResourceExhausted: The artifact has `datacatalog.artifactTagsMax` tags.
        errors.AlreadyExists: The dataset has an artifact with this tag, which keeps it.
            Deviates: an artifact whose data is missing is deleted and loses the tag.

    Source: upstream tagManager.AddTag.
    """
    if not request.HasField("tag"):
        raise errors.InvalidArgument("missing tag")
    tag = request.tag
    key = dataset_key(ctx, tag)
    name, artifact_id = checked("tagName", tag.name), checked("artifactID", tag.artifact_id)
    check_length(ctx, (*key, name))
    await find_dataset(ctx.db, key, tag.dataset.UUID)
    await find_by_id(ctx.db, key, artifact_id)
    most = ctx.settings.datacatalog.artifact_tags_max
    if await ctx.db.count(CatalogTag, **key._asdict(), artifact_id=artifact_id) >= most:
        raise errors.ResourceExhausted(
            f"the artifact has {most} tags, and more are not allowed (datacatalog.artifactTagsMax)"
        )
    cached = CacheKey(*key, name)
    other = await find_artifact(ctx.db, cached)
    if other is not None and await data.read(ctx, other) is None:
        # GetArtifact did not find it either, whereupon the client has computed the outputs again.
        await delete_artifact(ctx.db, key, other.artifact_id, other.output_uri)
    if await take_tag(ctx.db, cached, artifact_id) is not None:
        raise already_exists("catalog_tags_pkey")
    return datacatalog_pb2.AddTagResponse()
