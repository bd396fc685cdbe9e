"""What is reported of an array node's indices: one task execution that lists them, told in batches.

An event names only what has changed; the control plane merges it into what it knows, at a cost that grows with the
number of all indices. So events wait for others to come along, and the longer one takes, the longer the next waits.
Source: flytepropeller pkg/controller/nodes/array/event_recorder.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from flyteidl.core import catalog_pb2, execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app.engine.local.graph import unique_ids
from app.engine.local.graph.history import AttemptClosure
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.task_events import bare_event

Task = execution_pb2.TaskExecution
CacheStatus = catalog_pb2.CatalogCacheStatus

BATCH_SECONDS = 0.5
# Of the time, at most one part in so many goes into telling.
_SHARE = 20
_ENDS = (Task.SUCCEEDED, Task.FAILED, Task.ABORTED)
# The type of old map tasks, under which every array is reported.
CONTAINER_ARRAY = "container_array"
_PLUGIN = "k8s-array"


class ArrayProgress:
    """attempt: of the node. id: the task that runs, or the launch plan under the name of one.

    describe: adds to a resource what its kind of index has beside a phase; told whether it is news.
    """

    def __init__(
        self,
        context: NodeContext,
        attempt: int,
        id: identifier_pb2.Identifier,
        size: int,
        describe: Callable[[event_pb2.ExternalResourceInfo, bool], None],
    ) -> None:
        self._context = context
        self._attempt = attempt
        self._id = identifier_pb2.Identifier(
            resource_type=identifier_pb2.TASK, project=id.project, domain=id.domain, name=id.name, version=id.version
        )
        self._describe = describe
        self._prefix = unique_ids.generated_name(context.execution.id.name, context.unique_id, attempt)
        self._phases = [int(Task.UNDEFINED)] * size
        self._retries = [0] * size
        self._cache: dict[int, int] = {}
        self._changed: dict[tuple[int, int], int] = {}
        self._has_changes = asyncio.Event()
        self._earlier: dict[int, dict[int, AttemptClosure]] = {}
        self._version = context.execution.events.phase_version(context.unique_id, attempt)
        # Whether a RUNNING has been told.
        self._running_sent = self._version > 0
        known = context.recorded_attempts.get(attempt)
        for resource in known.metadata.external_resources if known is not None else ():
            self._earlier.setdefault(resource.index, {})[resource.retry_attempt] = AttemptClosure(phase=resource.phase)
            self._phases[resource.index] = resource.phase
            self._retries[resource.index] = resource.retry_attempt
            if resource.cache_status:
                self._cache[resource.index] = resource.cache_status

    def earlier(self, index: int) -> dict[int, AttemptClosure]:
        """What an earlier run of the execution reported of the attempts of an index; only their phases are known."""
        return self._earlier.get(index, {})

    def phase(self, index: int) -> int:
        return self._phases[index]

    def retry(self, index: int) -> int:
        """The current attempt of an index."""
        return self._retries[index]

    def change(self, index: int, phase: int, retry: int, cache_status: int = CacheStatus.CACHE_DISABLED) -> None:
        """An index has a new phase, which the next event will tell."""
        if cache_status:
            self._cache[index] = cache_status
        elif (self._phases[index], self._retries[index]) == (phase, retry):
            return
        self._phases[index], self._retries[index] = phase, retry
        self._changed[index, retry] = phase
        self._has_changes.set()

    def submitted(self) -> event_pb2.TaskExecutionEvent:
        """The first event, which names every index."""
        event = self._event(Task.QUEUED, ((index, 0, Task.UNDEFINED) for index in range(len(self._phases))))
        event.input_uri = self._context.input_uri
        return event

    def ended(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> list[event_pb2.TaskExecutionEvent]:
        """The last event, which names every index with its last phase; those that were not let end are ABORTED.

        Before it comes the first RUNNING, where all went so fast that it was not told yet.
        """
        for index, current in enumerate(self._phases):
            if current not in (*_ENDS, Task.UNDEFINED):
                self.change(index, Task.ABORTED, self._retries[index])
        before = [self._running()] if not self._running_sent and self._changed else []
        last = {(index, self._retries[index]): current for index, current in enumerate(self._phases)}
        event = self._event(phase, ((*key, state) for key, state in sorted({**last, **self._changed}.items())))
        if output_uri:
            event.output_uri = output_uri
        if error is not None:
            event.error.CopyFrom(error)
        return [*before, event]

    async def send_changes(self) -> None:
        """Tell what has changed since the last time."""
        if not self._changed:
            return
        changed, event = self._changed, self._running()
        self._has_changes.clear()
        try:
            await self._context.execution.events.send(event)
        except BaseException:
            # Cancelled, perhaps before anybody heard of it: it is told again, with what has changed meanwhile.
            self._changed = {**changed, **self._changed}
            raise
        self._running_sent = True

    def _running(self) -> event_pb2.TaskExecutionEvent:
        event = self._event(Task.RUNNING, ((*key, phase) for key, phase in sorted(self._changed.items())))
        self._changed = {}
        self._version += 1
        event.phase_version = self._version
        return event

    async def keep_sending(self) -> None:
        """Tell changes as they come, until cancelled."""
        while True:
            await self._has_changes.wait()
            began = time.monotonic()
            await self.send_changes()
            await asyncio.sleep(max(BATCH_SECONDS, _SHARE * (time.monotonic() - began)))

    def _event(self, phase: int, resources: Iterable[tuple[int, int, int]]) -> event_pb2.TaskExecutionEvent:
        event = bare_event(self._context, self._id, self._attempt, phase, task_type=CONTAINER_ARRAY, plugin=_PLUGIN)
        for index, retry, state in resources:
            resource = event.metadata.external_resources.add(
                external_id=f"{self._prefix}-n{index}-{retry}", index=index, retry_attempt=retry, phase=state
            )
            resource.cache_status = self._cache.get(index, CacheStatus.CACHE_DISABLED)
            self._describe(resource, (index, retry) in self._changed)
        return event
