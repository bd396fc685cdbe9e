"""Cache of compiled workflows: a thousand executions of one workflow share one closure, which no caller may change."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import workflow_pb2
from flyteidl.core import compiler_pb2

from app.blobs import Blobs

_COUNT_MAX = 64


class ClosureCache:
    """The 64 closures that were used last.

    Args:
        blobs: The store that holds the closures.
        bytes_max: The size limit of a closure in the store.
    """

    def __init__(self, blobs: Blobs, *, bytes_max: int) -> None:
        self._blobs = blobs
        self._bytes_max = bytes_max
        # In the order of use: the last entry was used last.
        self._closures: dict[tuple[str, bytes], compiler_pb2.CompiledWorkflowClosure] = {}

    async def get(self, workflow: Any) -> compiler_pb2.CompiledWorkflowClosure:
        """Return the closure of a workflow's row, which has `remote_closure_identifier` and `digest`.

        Raises:
            BlobError: The closure cannot be read.
        """
        # The digest belongs to the key: a version that was deleted and registered again has the same address.
        key = (workflow.remote_closure_identifier, workflow.digest or b"")
        closure = self._closures.pop(key, None)
        if closure is None:
            raw = await self._blobs.read(workflow.remote_closure_identifier, bytes_max=self._bytes_max)
            closure = workflow_pb2.WorkflowClosure.FromString(raw).compiled_workflow
        self._closures[key] = closure
        if len(self._closures) > _COUNT_MAX:
            self._closures.pop(next(iter(self._closures)))
        return closure
