"""Run one execution from its launch record to its last event.

Source: flytepropeller pkg/controller/workflow/executor.go.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from app import errors
from app.blobs import BlobError
from app.database import schema
from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts, outages
from app.engine.local.graph.events import EventSender
from app.engine.local.graph.failures import ExecutionEnded, LeaseLost, NodeFailed
from app.engine.local.graph.history import recorded_nodes
from app.engine.local.graph.literal_store import LiteralStore
from app.engine.local.graph.outages import Outage
from app.engine.local.graph.scheduler import GraphScheduler
from app.engine.local.graph.state import ExecutionState, GraphScope
from app.engine.local.host import Host
from app.engine.local.nodes.node_run import run_node
from app.engine.local.nodes.table import HANDLERS
from app.engine.local.processes.folders import execution_folder
from app.runtime.dispatch import Server
from app.runtime.fair_semaphore import FairSemaphore
from app.services import execution_config as configuration
from app.services import phases
from app.services.execution_ids import execution_key

log = structlog.get_logger(__name__)

Workflow = core_execution_pb2.WorkflowExecution

_ROUNDS_MAX = 5
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of an execution, its workflow and its launch record (None once it was deleted)."""

    execution: Any
    workflow: Any
    launch: Any

    @property
    def phase(self) -> int:
        return phases.phase_number(Workflow.Phase, self.execution.phase)


async def run_execution(host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Run an execution to its end, or resume one that an earlier process began.

    While the database or the object store does not answer, the execution waits; for the store at most
    engine.local.storageWaitSecondsMax. A permanent error of the store ends the execution at once, and an unexpected
    exception ends it when five rounds have failed.

    Raises:
        LeaseLost: Another process runs the execution.
    """
    failed_rounds, pause, outage = 0, 0.0, Outage()
    while True:
        try:
            await asyncio.sleep(pause)
            await _run_once(host, server, id)
            return
        except asyncio.CancelledError:
            if not host.is_running(id):
                raise
            # The host cancels an execution that was terminated; the next round reads that from its row.
            pause = 0.0
        except LeaseLost:
            raise
        except Exception as error:
            if isinstance(error, BlobError) or outages.is_transient(error):
                reason = await _record_outage(host, server, id, outage, error)
                pause = outage.pause_seconds
            else:
                failed_rounds += 1
                log.exception("execution_round_failed", execution=id.name, round=failed_rounds)
                reason = _exhausted(error) if failed_rounds == _ROUNDS_MAX else ""
                pause = min(pause * 2 or _PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
            if reason:
                await _fail_execution(host, server, id, reason)
                return


async def _record_outage(
    host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, outage: Outage, error: Exception
) -> str:
    """Record a failure of store or database; return why it ends the execution, or "" where the execution waits.

    The first failure of an outage is logged. If the store failed, the reason is also shown at the open attempts.
    """
    reason, of_store = str(error), isinstance(error, BlobError)
    if not outages.is_transient(error):
        log.error("execution_cannot_go_on", execution=id.name, reason=reason)
        return reason
    if outage.record_failure():
        event = "execution_waits_for_storage" if of_store else "execution_waits_for_database"
        log.warning(event, execution=id.name, reason=reason)
        if of_store:
            await outages.show(host, server, id, reason)
    seconds_max = server.settings.engine.local.storage_wait_seconds_max
    if of_store and outage.seconds > seconds_max:
        return f"{reason}; waited for {seconds_max:g} s (engine.local.storageWaitSecondsMax)"
    return ""


def _exhausted(error: Exception) -> str:
    last = error.message if isinstance(error, errors.FlyteError) else repr(error)
    rounds = f"max number of system retry attempts [{_ROUNDS_MAX}/{_ROUNDS_MAX}] exhausted"
    return f"{rounds}. Last known status message: {last}"


async def _fail_execution(
    host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, reason: str
) -> None:
    error = error_of(
        "Workflow abort failed",
        f"Workflow[{id.project}:{id.domain}:{id.name}] failed. RuntimeExecutionError: {reason}",
        core_execution_pb2.ExecutionError.SYSTEM,
    )
    rows = await _read_rows(server, id)
    if rows is None:
        return
    execution = await _state_of(host, server, id, rows, with_data=False)
    await aborts.end(execution, aborts.AUTO_ABORT)
    await execution.events.send(execution.events.workflow_event(Workflow.FAILED, error=error))


async def _run_once(host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    rows = await _read_rows(server, id)
    if rows is None:
        return
    over = rows.phase in phases.WORKFLOW_TERMINAL or rows.phase == Workflow.ABORTING
    execution = await _state_of(host, server, id, rows, with_data=not over)
    if over:
        await _end(execution, rows.phase)
        return
    try:
        await _run_graph(execution)
    except LeaseLost:
        raise
    except ExecutionEnded:
        # A client or another server has ended the execution: end all that runs for it.
        rows = await _read_rows(server, id)
        if rows is not None:
            await _end(execution, rows.phase)


async def _end(execution: ExecutionState, phase: int) -> None:
    await aborts.end(execution, aborts.TERMINATED)
    if phase == Workflow.ABORTING:
        await aborts.terminate_launched(execution)
        await execution.events.send(execution.events.workflow_event(Workflow.ABORTED))


async def _run_graph(execution: ExecutionState) -> None:
    events, closure = execution.events, execution.closure
    scope = GraphScope(execution=execution, closure=closure, workflow=closure.primary, directory=execution.root)

    async def report_failing(error: core_execution_pb2.ExecutionError) -> None:
        await events.send(events.workflow_event(Workflow.FAILING, error=error))

    try:
        graph = GraphScheduler(scope, run_node, report_failing=report_failing)
        await graph.run(execution.inputs, events.workflow_event(Workflow.RUNNING))
    except NodeFailed as failure:
        await events.send(events.workflow_event(Workflow.FAILED, error=failure.error))
        return
    output_uri = scope.context(graph.end).output_uri()
    await events.send(
        events.workflow_event(Workflow.SUCCEEDING), events.workflow_event(Workflow.SUCCEEDED, output_uri=output_uri)
    )


async def _read_rows(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> _Rows | None:
    """Read the rows of an execution; None when the execution or its workflow was deleted."""
    async with server.database.unit_of_work() as db:
        execution = await db.find(schema.Execution, **execution_key(id))
        if execution is None:
            return None
        columns = ("remote_closure_identifier", "digest")
        workflow = await db.find(schema.Workflow, columns=columns, id=execution.workflow_id)
        launch = await db.find(schema.Launch, columns=("config",), **execution_key(id))
    return None if workflow is None else _Rows(execution, workflow, launch)


async def _state_of(
    host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, rows: _Rows, *, with_data: bool
) -> ExecutionState:
    """Build the state of an execution.

    Args:
        host: Runs the execution.
        server: Holds database, store and settings.
        id: The execution.
        rows: Its rows.
        with_data: Whether to read workflow and inputs, which an execution that only has to be ended does not need.
    """
    row = rows.execution
    spec = execution_pb2.ExecutionSpec.FromString(row.spec)
    config = _config_of(spec, rows.launch)
    closure, inputs = compiler_pb2.CompiledWorkflowClosure(), literals_pb2.LiteralMap()
    literals = LiteralStore(server)
    if with_data:
        closure = await host.closure_of(rows.workflow)
        inputs = await literals.read(row.inputs_uri) if row.inputs_uri else inputs
    prefix = config.raw_output_data_config.output_location_prefix or server.blobs.uri("raw", id.project, id.domain)
    execution = ExecutionState(
        host=host,
        handlers=HANDLERS,
        server=server,
        id=id,
        config=config,
        principal=row.user or "",
        workflow_id=execution_pb2.ExecutionClosure.FromString(row.closure).workflow_id,
        closure=closure,
        inputs=inputs,
        root=server.blobs.uri("metadata", "propeller", id.project, id.domain, id.name),
        raw_prefix=prefix.rstrip("/"),
        home=execution_folder(host.home_of(id), id),
        events=EventSender(server, id, host),
        literals=literals,
        envs={pair.key: pair.value for pair in config.envs.values},
        parallelism=FairSemaphore(max(0, spec.max_parallelism)),
    )
    if row.phase not in ("UNDEFINED", "QUEUED"):
        await execution.load_history()
    metadata = spec.metadata
    if metadata.mode == execution_pb2.ExecutionMetadata.RECOVERED and metadata.HasField("reference_execution"):
        execution.recovered_nodes = await recorded_nodes(server, metadata.reference_execution)
    return execution


def _config_of(spec: execution_pb2.ExecutionSpec, launch: Any) -> configuration.Config:
    """Return the configuration of an execution: its spec, completed by launch plan, attributes and settings.

    Parity: upstream's engine runs with the merged configuration, which the stored spec does not show.
    """
    config = configuration.Config()
    if launch is not None and launch.config:
        config.ParseFromString(launch.config)
    else:
        configuration.merge(config, spec)
    return config
