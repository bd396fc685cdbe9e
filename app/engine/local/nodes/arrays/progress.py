"""Reports the phases of an array node's elements: events of one task execution that list elements in batches.

An event lists only the elements whose phase has changed. The control plane merges it into the stored list, at a cost
that grows with the number of all elements. So changes are collected, for longer the longer the last event took.
Source: flytepropeller pkg/controller/nodes/array/event_recorder.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flyteidl.core import catalog_pb2, execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app.engine.local.graph import unique_ids
from app.engine.local.graph.history import AttemptClosure
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.task_events import bare_event
from app.services import trimming

Task = execution_pb2.TaskExecution
CacheStatus = catalog_pb2.CatalogCacheStatus

BATCH_SECONDS = 0.5
# Pause after an event, as a multiple of the time that it took.
_PAUSE_FACTOR = 20
_ENDS = (Task.SUCCEEDED, Task.FAILED, Task.ABORTED)
# Every array is reported with the type of old map tasks, as upstream does.
CONTAINER_ARRAY = "container_array"
_PLUGIN = "k8s-array"
# Of the error of one element; the node's error has the messages at more length.
_ERROR_BYTES_MAX = 200


@dataclass(slots=True)
class _Run:
    """The process, or child execution, of one attempt of an element.

    Attributes:
        started: Seconds since 1970; 0 if it has none, as for outputs from the cache.
        ended: Seconds since 1970; 0 while it runs.
        error: The last lines of its error.
    """

    started: float = 0.0
    ended: float = 0.0
    error: str = ""

    def describe(self, resource: event_pb2.ExternalResourceInfo) -> None:
        """Set `custom_info`: {"started_at": seconds, "ended_at": seconds, "error": text}, as far as they are known.

        Deviates: upstream reports neither times nor errors of elements, although the message has room for them.
        """
        known = {"started_at": self.started, "ended_at": self.ended, "error": self.error}
        if any(known.values()):
            resource.custom_info.update({name: value for name, value in known.items() if value})

    @classmethod
    def of(cls, resource: event_pb2.ExternalResourceInfo) -> _Run:
        """Return the run of a report of an earlier server."""
        return cls(started=resource.custom_info.fields["started_at"].number_value)


class ArrayProgress:
    """The phases of an array node's elements, and the events that report them.

    Args:
        context: The node.
        attempt: The attempt of the node.
        id: The task of the elements, or their launch plan.
        size: The number of elements.
        describe: Adds links or ids to the report of an element (`Elements.describe`).
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
        # By element and attempt, until the end of the attempt has been reported: the control plane keeps reports.
        self._runs: dict[tuple[int, int], _Run] = {}
        self._has_changes = asyncio.Event()
        self._earlier: dict[int, dict[int, AttemptClosure]] = {}
        self._version = context.execution.events.phase_version(context.unique_id, attempt)
        # Whether a RUNNING event was sent.
        self._running_sent = self._version > 0
        known = context.recorded_attempts.get(attempt)
        for resource in known.metadata.external_resources if known is not None else ():
            self._earlier.setdefault(resource.index, {})[resource.retry_attempt] = AttemptClosure(phase=resource.phase)
            self._phases[resource.index] = resource.phase
            self._retries[resource.index] = resource.retry_attempt
            if resource.phase not in _ENDS and resource.HasField("custom_info"):
                self._runs[resource.index, resource.retry_attempt] = _Run.of(resource)
            if resource.cache_status:
                self._cache[resource.index] = resource.cache_status

    def earlier(self, index: int) -> dict[int, AttemptClosure]:
        """Return the attempts of an element that an earlier server reported, with their phases only."""
        return self._earlier.get(index, {})

    def phase(self, index: int) -> int:
        """Return the phase of an element."""
        return self._phases[index]

    def retry(self, index: int) -> int:
        """Return the number of the current attempt of an element."""
        return self._retries[index]

    def change(
        self, index: int, phase: int, retry: int, cache_status: int = CacheStatus.CACHE_DISABLED, error: str = ""
    ) -> None:
        """Set the phase of an element, to be sent with the next event.

        Args:
            index: The element.
            phase: Of core.TaskExecution.
            retry: The attempt of the element, from 0.
            cache_status: Of core.CatalogCacheStatus.
            error: The message of a failure.
        """
        if cache_status:
            self._cache[index] = cache_status
        elif (self._phases[index], self._retries[index]) == (phase, retry):
            return
        self._phases[index], self._retries[index] = phase, retry
        self._changed[index, retry] = phase
        self._note(index, phase, retry, error)
        self._has_changes.set()

    def _note(self, index: int, phase: int, retry: int, error: str) -> None:
        """Note when an attempt started and ended, and its error."""
        run = self._runs.setdefault((index, retry), _Run())
        if phase == Task.RUNNING and not run.started:
            run.started = round(time.time(), 3)
        if phase in _ENDS and run.started:
            run.ended = round(time.time(), 3)
        if error:
            run.error = trimming.last_lines(error, _ERROR_BYTES_MAX)

    def show(self, index: int, phase: int, retry: int) -> None:
        """Report an element with the next event, although its phase may not have changed."""
        self._phases[index], self._retries[index] = phase, retry
        self._changed[index, retry] = phase
        self._note(index, phase, retry, "")
        self._has_changes.set()

    def submitted(self) -> event_pb2.TaskExecutionEvent:
        """Return the first event, which lists all elements."""
        event = self._event(Task.QUEUED, ((index, 0, Task.UNDEFINED) for index in range(len(self._phases))))
        event.input_uri = self._context.input_uri
        return event

    def ended(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> list[event_pb2.TaskExecutionEvent]:
        """Return the last event, which lists all elements with their last phases; the unfinished are ABORTED.

        If no RUNNING event was sent yet, one comes before it.
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
        """Send the changes since the last event."""
        if not self._changed:
            return
        changed, event = self._changed, self._running()
        self._has_changes.clear()
        try:
            await self._context.execution.events.send(event)
        except BaseException:
            # The event may not have arrived, so its changes are sent again, together with later ones.
            self._changed = {**changed, **self._changed}
            raise
        self._running_sent = True
        for key, phase in changed.items():
            if phase in _ENDS:
                self._runs.pop(key, None)

    def _running(self) -> event_pb2.TaskExecutionEvent:
        event = self._event(Task.RUNNING, ((*key, phase) for key, phase in sorted(self._changed.items())))
        self._changed = {}
        self._version += 1
        event.phase_version = self._version
        return event

    async def keep_sending(self) -> None:
        """Send changes until cancelled."""
        while True:
            await self._has_changes.wait()
            began = time.monotonic()
            await self.send_changes()
            await asyncio.sleep(max(BATCH_SECONDS, _PAUSE_FACTOR * (time.monotonic() - began)))

    def _event(self, phase: int, resources: Iterable[tuple[int, int, int]]) -> event_pb2.TaskExecutionEvent:
        event = bare_event(self._context, self._id, self._attempt, phase, task_type=CONTAINER_ARRAY, plugin=_PLUGIN)
        for index, retry, state in resources:
            resource = event.metadata.external_resources.add(
                external_id=f"{self._prefix}-n{index}-{retry}", index=index, retry_attempt=retry, phase=state
            )
            resource.cache_status = self._cache.get(index, CacheStatus.CACHE_DISABLED)
            changed = (index, retry) in self._changed
            if changed and (run := self._runs.get((index, retry))):
                run.describe(resource)
            self._describe(resource, changed)
        return event
