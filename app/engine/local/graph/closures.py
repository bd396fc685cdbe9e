"""Compiled workflows in memory: a thousand executions of one workflow share one closure, which nobody changes."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import workflow_pb2
from flyteidl.core import compiler_pb2

from app.blobs import CLOSURE_LIMIT, Blobs

_COUNT_MAX = 64


class Closures:
    """The closures that were used last."""

    def __init__(self, blobs: Blobs, *, bytes_max: int) -> None:
        self._blobs = blobs
        self._bytes_max = bytes_max
        # The last one of the dictionary is the one used last.
        self._known: dict[tuple[str, bytes], compiler_pb2.CompiledWorkflowClosure] = {}

    async def of(self, workflow: Any) -> compiler_pb2.CompiledWorkflowClosure:
        """The closure of a workflow's row: remote_closure_identifier, digest.

        errors: BlobError
        """
        # A version that was deleted and registered again may lie at the same place.
        key = (workflow.remote_closure_identifier, workflow.digest or b"")
        closure = self._known.pop(key, None)
        if closure is None:
            raw = await self._blobs.read(
                workflow.remote_closure_identifier, bytes_max=self._bytes_max, setting=CLOSURE_LIMIT
            )
            closure = workflow_pb2.WorkflowClosure.FromString(raw).compiled_workflow
        self._known[key] = closure
        if len(self._known) > _COUNT_MAX:
            self._known.pop(next(iter(self._known)))
        return closure
