"""Caching of outputs: what was computed once for a task's version, interface and inputs is taken over, not run again.

One Caching stands for one thing that may be taken over: a task node, a whole dynamic node, one index of a map. What
runs asks `begin` first, tells `put` when it ended well, and `give_up` when it did not. Where nothing is to be cached
all three do nothing.
Source: flytepropeller pkg/controller/nodes/cache.go, executor.go (preExecute, handleQueuedOrRunningNode).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

import structlog
from flyteidl.core import catalog_pb2, execution_pb2, identifier_pb2, literals_pb2, tasks_pb2, workflow_pb2
from flyteidl.event import event_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.blobs import BlobMissing, BlobOutside, BlobTooLarge
from app.engine.local.graph.service_calls import with_retries
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.catalog_keys import dataset_id, index_interface, key_of
from app.engine.local.processes.fair_semaphore import Permit
from app.runtime.context import Context
from app.services import catalog

log = structlog.get_logger(__name__)

Status = catalog_pb2.CatalogCacheStatus
Reservation = catalog_pb2.CatalogReservation

# Between two looks at whether somebody else has produced the outputs.
WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """Outputs that are taken over, and what the node's event says of them."""

    outputs: literals_pb2.LiteralMap
    marks: event_pb2.TaskNodeMetadata


@dataclass(frozen=True, slots=True)
class Policy:
    """How outputs are cached: under which version, whether one at a time computes them, which inputs do not count."""

    version: str
    serialized: bool
    ignored: frozenset[str]


def policy_of(metadata: workflow_pb2.NodeMetadata, task: tasks_pb2.TaskTemplate) -> Policy | None:
    """The task's wish with what the node says instead; None where nothing is cached.

    Deviates: upstream knows the node's fields and does not read them.
    """
    wish = task.metadata
    cacheable = metadata.cacheable if metadata.WhichOneof("cacheable_value") else wish.discoverable
    if not cacheable or not task.interface.outputs.variables:
        return None
    version = metadata.cache_version if metadata.WhichOneof("cache_version_value") else wish.discovery_version
    named = metadata.WhichOneof("cache_serializable_value") is not None
    serialized = metadata.cache_serializable if named else wish.cache_serializable
    return Policy(version, serialized, frozenset(wish.cache_ignore_input_vars))


class NodeCache:
    """The cached outputs of a node, or of one index of an array node.

    task: whose outputs they are. inputs: what they depend on, for an index its own. metadata: of the node that says how
    to cache, for an index that of the node inside. index: None for a whole node.
    """

    def __init__(
        self,
        context: NodeContext,
        task: tasks_pb2.TaskTemplate,
        inputs: literals_pb2.LiteralMap,
        *,
        metadata: workflow_pb2.NodeMetadata | None = None,
        index: int | None = None,
    ) -> None:
        self._context = context
        self._execution = context.execution
        self._task = task
        policy = policy_of(context.node.metadata if metadata is None else metadata, task)
        self._key = self._key_of(policy, inputs, index) if policy is not None else None
        self._overwrite = bool(context.execution.config.overwrite_cache)
        # Parity: who overwrites takes no reservation.
        self._serialized = policy is not None and policy.serialized and not self._overwrite
        self._owner = catalog.ReservationOwner(
            identifier_pb2.NodeExecutionIdentifier(execution_id=context.execution.id, node_id=context.unique_id),
            "" if index is None else str(index),
        )

    def _key_of(self, policy: Policy, inputs: literals_pb2.LiteralMap, index: int | None) -> catalog.CacheKey | None:
        """Deviates: what has no key runs without a cache; upstream fails such an execution after some rounds."""
        interface = self._task.interface if index is None else index_interface(self._task.interface)
        try:
            return key_of(self._task.id, interface, inputs, version=policy.version, ignored=policy.ignored)
        except errors.InvalidArgument as error:
            log.warning(
                "node_not_cached", execution=self._execution.id.name, node=self._context.unique_id, reason=error.message
            )
            return None

    @property
    def reserving(self) -> event_pb2.TaskNodeMetadata | None:
        """What the RUNNING event says of a reservation."""
        if self._key is None or not self._serialized:
            return None
        return event_pb2.TaskNodeMetadata(reservation_status=Reservation.RESERVATION_ACQUIRED)

    async def begin(self, permit: Permit) -> Hit | None:
        """What can be taken over; None where it has to be computed, with the right to do so where only one may.

        Not to be asked for what an earlier run of the execution has started. While it waits it holds no place.
        errors: FlyteError, BlobError, which say nothing of the node
        """
        hit = await self._look_up()
        if hit is not None or self._key is None or not self._serialized:
            return hit
        # A reservation holds until its node ends, and only a node that is known can be ended.
        await self._execution.events.send(self._context.event(execution_pb2.NodeExecution.QUEUED))
        while not await self._reserve():
            permit.release()
            await asyncio.sleep(WAIT_SECONDS)
            hit = await self._look_up()
            if hit is not None:
                return hit
        # The one that had it may have put its outputs there just before it let go.
        hit = await self._look_up()
        if hit is not None:
            await self.give_up()
            return hit
        await permit.acquire()
        return None

    async def put(
        self, output_uri: str, outputs: literals_pb2.LiteralMap, *, attempt: int
    ) -> event_pb2.TaskNodeMetadata:
        """Cache outputs that lie at a URI; what the node's SUCCEEDED event says of it."""
        marks = event_pb2.TaskNodeMetadata()
        if self._key is None:
            return marks
        execution = self._execution
        entry = {
            "artifact_id": str(uuid4()),
            "output_uri": output_uri,
            "digest": _digest(outputs),
            "task_version": self._task.id.version,
            "retry_attempt": attempt,
            **{name: value for name, value in self._owner.columns.items() if name != "owner"},
        }
        key = marks.catalog_key
        key.dataset_id.CopyFrom(dataset_id(self._key))
        key.artifact_tag.name = self._key.tag
        try:
            artifact_id, overwritten = await with_retries(execution.server, self._put, entry)
        except errors.FlyteError as error:
            log.warning(
                "outputs_not_cached", execution=execution.id.name, node=self._context.unique_id, reason=error.message
            )
            marks.cache_status = Status.CACHE_PUT_FAILURE
            return marks
        marks.cache_status = Status.CACHE_POPULATED
        key.artifact_tag.artifact_id = artifact_id
        if overwritten:
            # Parity: only what replaces something names its source.
            key.source_task_execution.CopyFrom(_source(self._task.id, entry))
        if self._serialized:
            marks.reservation_status = Reservation.RESERVATION_RELEASED
        return marks

    async def give_up(self) -> None:
        """Let others compute the outputs.

        Deviates: upstream's reservation of a node that failed ends by itself, half a minute later.
        """
        if self._key is not None and self._serialized:
            await with_retries(self._execution.server, self._release, self._key)

    async def _look_up(self) -> Hit | None:
        if self._key is None or self._overwrite:
            return None
        row = await with_retries(self._execution.server, _find, self._key)
        if row is None:
            return None
        try:
            outputs = await self._execution.literals.read(row.output_uri)
            gone = "" if _digest(outputs) == row.digest else "the outputs are not those that were cached"
        except (BlobMissing, BlobOutside, BlobTooLarge) as error:
            gone = error.message
        except DecodeError as error:
            gone = f"{row.output_uri} is no LiteralMap: {error}"
        if gone:
            log.warning("cached_outputs_gone", task=self._task.id.name, artifact=row.artifact_id, reason=gone)
            await with_retries(self._execution.server, _forget, (self._key, row))
            return None
        marks = event_pb2.TaskNodeMetadata(cache_status=Status.CACHE_HIT)
        marks.catalog_key.dataset_id.CopyFrom(dataset_id(self._key))
        marks.catalog_key.artifact_tag.artifact_id = row.artifact_id
        marks.catalog_key.artifact_tag.name = row.tag
        marks.catalog_key.source_task_execution.CopyFrom(_source(self._task.id, row._asdict()))
        return Hit(outputs, marks)

    async def _reserve(self) -> bool:
        """One try; it writes only where it may succeed."""
        assert self._key is not None
        return await with_retries(self._execution.server, _reserve, (self._key, self._owner))

    async def _put(self, ctx: Context, entry: dict[str, Any]) -> tuple[str, bool]:
        assert self._key is not None
        result = await catalog.store_artifact(ctx.db, self._key, entry, overwrite=self._overwrite)
        if self._serialized:
            await catalog.release(ctx.db, self._key, self._owner)
        return result

    async def _release(self, ctx: Context, key: catalog.CacheKey) -> None:
        await catalog.release(ctx.db, key, self._owner)


async def _find(ctx: Context, key: catalog.CacheKey) -> Any | None:
    return await catalog.find_artifact(ctx.db, key)


async def _forget(ctx: Context, request: tuple[catalog.CacheKey, Any]) -> None:
    key, row = request
    await catalog.delete_artifact(ctx.db, key, row.artifact_id, row.output_uri)


async def _reserve(ctx: Context, request: tuple[catalog.CacheKey, catalog.ReservationOwner]) -> bool:
    key, owner = request
    return not await catalog.is_reserved(ctx.db, key, owner) and await catalog.reserve(ctx.db, key, owner)


def _digest(outputs: literals_pb2.LiteralMap) -> bytes:
    return sha256(outputs.SerializeToString(deterministic=True)).digest()


def _source(task: identifier_pb2.Identifier, entry: dict[str, Any]) -> identifier_pb2.TaskExecutionIdentifier:
    """The attempt that produced an entry's outputs."""
    source = identifier_pb2.TaskExecutionIdentifier(task_id=task, retry_attempt=entry["retry_attempt"])
    source.task_id.version = entry["task_version"]
    source.node_execution_id.node_id = entry["node_id"]
    execution = source.node_execution_id.execution_id
    execution.project, execution.domain = entry["execution_project"], entry["execution_domain"]
    execution.name = entry["execution_name"]
    return source
