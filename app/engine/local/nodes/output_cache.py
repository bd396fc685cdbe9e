"""Cache the outputs of tasks by the task's version, its interface and the inputs.

An OutputCache stands for the outputs of one task node, one dynamic node or one index of an array node. The node calls
`begin` before it runs, `put` when it has succeeded and `release` when it has failed. Without caching, all three do
nothing.
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
from app.runtime import debug_log
from app.runtime.context import Context
from app.runtime.fair_semaphore import Permit
from app.services import catalog

log = structlog.get_logger(__name__)

Status = catalog_pb2.CatalogCacheStatus
Reservation = catalog_pb2.CatalogReservation

# The interval at which a node polls while another one holds the reservation.
WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """Cached outputs, and the fields of the node's event that describe them."""

    outputs: literals_pb2.LiteralMap
    marks: event_pb2.TaskNodeMetadata


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules by which outputs are cached.

    Attributes:
        version: The cache version, part of the key.
        serialized: Whether only one node at a time computes the outputs of a key.
        ignored: Inputs that are not part of the key.
    """

    version: str
    serialized: bool
    ignored: frozenset[str]


def policy_of(metadata: workflow_pb2.NodeMetadata, task: tasks_pb2.TaskTemplate) -> Policy | None:
    """Return the policy of the task, overridden by the node; None when the outputs are not cached.

    Deviates: upstream does not read the cache fields of nodes.
    """
    wanted = task.metadata
    cacheable = metadata.cacheable if metadata.WhichOneof("cacheable_value") else wanted.discoverable
    if not cacheable or not task.interface.outputs.variables:
        return None
    version = metadata.cache_version if metadata.WhichOneof("cache_version_value") else wanted.discovery_version
    named = metadata.WhichOneof("cache_serializable_value") is not None
    serialized = metadata.cache_serializable if named else wanted.cache_serializable
    return Policy(version, serialized, frozenset(wanted.cache_ignore_input_vars))


class OutputCache:
    """The cache entry of a node, or of one index of an array node.

    Args:
        context: The node.
        task: The task.
        inputs: The inputs of the node, or of the index.
        metadata: The node metadata that overrides the task; for an index, that of the node inside the array node.
        index: The index of an array node.
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
        # Parity: a node that overwrites the cache takes no reservation.
        self._serialized = policy is not None and policy.serialized and not self._overwrite
        self._owner = catalog.ReservationOwner(
            identifier_pb2.NodeExecutionIdentifier(execution_id=context.execution.id, node_id=context.unique_id),
            "" if index is None else str(index),
        )

    def _key_of(self, policy: Policy, inputs: literals_pb2.LiteralMap, index: int | None) -> catalog.CacheKey | None:
        """Return the key of the outputs, None without one.

        Deviates: outputs without a key are not cached; upstream fails the execution.
        """
        interface = self._task.interface if index is None else index_interface(self._task.interface)
        try:
            return key_of(self._task.id, interface, inputs, version=policy.version, ignored=policy.ignored)
        except errors.InvalidArgument as error:
            log.warning(
                "node_not_cached", execution=self._execution.id.name, node=self._context.unique_id, reason=error.message
            )
            return None

    @property
    def reservation(self) -> event_pb2.TaskNodeMetadata | None:
        """Return the fields of the RUNNING event that describe a reservation; None without one."""
        if self._key is None or not self._serialized:
            return None
        return event_pb2.TaskNodeMetadata(reservation_status=Reservation.RESERVATION_ACQUIRED)

    async def begin(self, permit: Permit) -> Hit | None:
        """Return cached outputs, or None when the node has to run; it holds the reservation then.

        A serialized node waits without its permit while another node holds the reservation. Do not call this for a
        node that an earlier run of the execution has started.

        Args:
            permit: The permit of the node.

        Raises:
            FlyteError: The database or the store does not answer; the node has not failed.
        """
        hit = await self._look_up()
        if hit is not None or self._key is None or not self._serialized:
            return hit
        # A reservation is released with the end of its node, and only a node with a row can be ended.
        await self._execution.events.send(self._context.event(execution_pb2.NodeExecution.QUEUED))
        while not await self._reserve():
            permit.release()
            await asyncio.sleep(WAIT_SECONDS)
            hit = await self._look_up()
            if hit is not None:
                return hit
        # The former holder may have stored its outputs just before it released the reservation.
        hit = await self._look_up()
        if hit is not None:
            await self.release()
            return hit
        await permit.acquire()
        return None

    async def put(
        self, output_uri: str, outputs: literals_pb2.LiteralMap, *, attempt: int
    ) -> event_pb2.TaskNodeMetadata:
        """Cache outputs; return the fields of the node's SUCCEEDED event that describe the entry.

        Args:
            output_uri: The address of the outputs.
            outputs: The outputs.
            attempt: The attempt that produced them.
        """
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
            # Parity: only an event that replaces an entry names its source.
            key.source_task_execution.CopyFrom(_source(self._task.id, entry))
        if self._serialized:
            marks.reservation_status = Reservation.RESERVATION_RELEASED
        return marks

    async def release(self) -> None:
        """Release the reservation, so that another node may compute the outputs.

        Deviates: upstream's reservation of a failed node expires after half a minute.
        """
        if self._key is not None and self._serialized:
            await with_retries(self._execution.server, self._release_reservation, self._key)

    async def _look_up(self) -> Hit | None:
        if self._key is None or self._overwrite:
            return None
        row = await with_retries(self._execution.server, _find, self._key)
        if row is None:
            return None
        try:
            outputs = await self._execution.literals.read(row.output_uri)
            invalid = "" if _digest(outputs) == row.digest else "the outputs are not those that were cached"
        except (BlobMissing, BlobOutside, BlobTooLarge) as error:
            invalid = error.message
        except DecodeError as error:
            invalid = f"{row.output_uri} is no LiteralMap: {error}"
        if invalid:
            log.warning("cached_outputs_invalid", task=self._task.id.name, artifact=row.artifact_id, reason=invalid)
            await with_retries(self._execution.server, _forget, (self._key, row))
            return None
        debug_log.write(log, "cached_outputs_used", task=self._task.id.name, artifact=row.artifact_id)
        marks = event_pb2.TaskNodeMetadata(cache_status=Status.CACHE_HIT)
        marks.catalog_key.dataset_id.CopyFrom(dataset_id(self._key))
        marks.catalog_key.artifact_tag.artifact_id = row.artifact_id
        marks.catalog_key.artifact_tag.name = row.tag
        marks.catalog_key.source_task_execution.CopyFrom(_source(self._task.id, row._asdict()))
        return Hit(outputs, marks)

    async def _reserve(self) -> bool:
        """Try once to take the reservation. Write only when no other node holds it."""
        assert self._key is not None
        return await with_retries(self._execution.server, _reserve, (self._key, self._owner))

    async def _put(self, ctx: Context, entry: dict[str, Any]) -> tuple[str, bool]:
        assert self._key is not None
        result = await catalog.store_artifact(ctx.db, self._key, entry, overwrite=self._overwrite)
        if self._serialized:
            await catalog.release(ctx.db, self._key, self._owner)
        return result

    async def _release_reservation(self, ctx: Context, key: catalog.CacheKey) -> None:
        await catalog.release(ctx.db, key, self._owner)


async def _find(ctx: Context, key: catalog.CacheKey) -> Any | None:
    return await catalog.find_artifact(ctx.db, key)


async def _forget(ctx: Context, request: tuple[catalog.CacheKey, Any]) -> None:
    key, row = request
    await catalog.delete_artifact(ctx.db, key.dataset, row.artifact_id, row.output_uri)


async def _reserve(ctx: Context, request: tuple[catalog.CacheKey, catalog.ReservationOwner]) -> bool:
    key, owner = request
    return not await catalog.is_reserved(ctx, key, owner) and await catalog.reserve(ctx, key, owner)


def _digest(outputs: literals_pb2.LiteralMap) -> bytes:
    return sha256(outputs.SerializeToString(deterministic=True)).digest()


def _source(task: identifier_pb2.Identifier, entry: dict[str, Any]) -> identifier_pb2.TaskExecutionIdentifier:
    """Return the attempt that produced the outputs of an entry."""
    source = identifier_pb2.TaskExecutionIdentifier(task_id=task, retry_attempt=entry["retry_attempt"])
    source.task_id.version = entry["task_version"]
    source.node_execution_id.node_id = entry["node_id"]
    execution = source.node_execution_id.execution_id
    execution.project, execution.domain = entry["execution_project"], entry["execution_domain"]
    execution.name = entry["execution_name"]
    return source
