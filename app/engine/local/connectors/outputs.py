"""The outputs of a task that a service has run: inline in the reply, or files in the output prefix."""

from __future__ import annotations

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local.connectors.reports import ConnectorTask
from app.engine.local.processes import outcome
from app.engine.local.processes.task_attempt import Outcome
from app.runtime.dispatch import Server
from app.services import literal_limits

Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError

_EXITED_WELL = {"reason": "", "code": 0}
NOT_FOUND, TOO_LARGE = "OutputsNotFound", "OutputSizeExceeded"


class Outputs:
    """Stores inline outputs, and reads those of tasks that have ended.

    Args:
        server: Holds settings and store.
    """

    def __init__(self, server: Server) -> None:
        self._settings = server.settings
        self._blobs = server.blobs

    async def stored(self, task: ConnectorTask, resource: agent_pb2.Resource) -> agent_pb2.Resource:
        """Write the inline outputs of a success to the output prefix; return the reply without them.

        A reply whose outputs cannot be used becomes a failure.
        """
        kept = agent_pb2.Resource()
        kept.CopyFrom(resource)
        kept.ClearField("outputs")
        declared = task.template.interface.outputs.variables
        if not resource.HasField("outputs") or not declared or not _succeeded(resource):
            return kept
        outputs = literals_pb2.LiteralMap()
        for name in declared:
            if name in resource.outputs.literals:
                outputs.literals[name].CopyFrom(resource.outputs.literals[name])
        lacking = sorted(set(declared) - set(outputs.literals))
        if lacking:
            message = (
                f"the service returned no outputs [{', '.join(lacking)}], which task [{task.template.id.name}] "
                f"declares; it returned [{', '.join(sorted(resource.outputs.literals))}]"
            )
            return _refused(kept, NOT_FOUND, message)
        if excess := literal_limits.excess(self._settings, "outputs", outputs):
            return _refused(kept, TOO_LARGE, excess)
        await self._blobs.write(f"{task.attempt.output_prefix}/outputs.pb", outputs.SerializeToString())
        return kept

    async def outcome(self, task: ConnectorTask, resource: agent_pb2.Resource) -> Outcome:
        """Return the outcome of a success: its files decide, as for a process that exited with code 0."""
        return await outcome.read(
            task.attempt,
            _EXITED_WELL,
            self._blobs,
            bytes_max=self._settings.storage.limits.max_download_bytes,
        )


def _succeeded(resource: agent_pb2.Resource) -> bool:
    return resource.phase == Task.SUCCEEDED or (not resource.phase and resource.state == agent_pb2.SUCCEEDED)


def _refused(resource: agent_pb2.Resource, code: str, message: str) -> agent_pb2.Resource:
    resource.phase = Task.RETRYABLE_FAILED if code == NOT_FOUND else Task.FAILED
    resource.message = message
    resource.agent_error.code = code
    resource.agent_error.origin = _Kind.USER
    return resource
