"""One execution from its launch record to its last event.

Source: flytepropeller pkg/controller/workflow/executor.go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from app import errors
from app.blobs import BlobError
from app.database import schema
from app.engine.local.graph import aborts, outages
from app.engine.local.graph.failures import NodeFailed, Stopped, error_of
from app.engine.local.graph.graph import Graph
from app.engine.local.graph.outages import Outage
from app.engine.local.graph.reports import Reporter
from app.engine.local.graph.run import Frame, Run, known_nodes
from app.engine.local.nodes.nodes import execute
from app.engine.local.processes.fair_semaphore import FairSemaphore
from app.engine.local.processes.folders import execution_folder
from app.runtime.dispatch import Server
from app.services import execution_config as configuration
from app.services import phases
from app.services.ids import execution_key

if TYPE_CHECKING:
    from app.engine.local.engine import LocalEngine

log = structlog.get_logger(__name__)

Workflow = core_execution_pb2.WorkflowExecution
_Kind = core_execution_pb2.ExecutionError

_ROUNDS_MAX = 5
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_MAX = 30.0


async def run_execution(engine: LocalEngine, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Run an execution to its end, or go on with one that an earlier process began.

    While the database or the object store is away the execution waits; for the store at most for
    engine.local.storageWaitSecondsMax. An error of the store that does not pass ends the execution at once, a fault of
    this program after a few rounds.
    """
    failed_rounds, pause, outage = 0, 0.0, Outage()
    while True:
        try:
            await asyncio.sleep(pause)
            await _once(engine, server, id)
            return
        except asyncio.CancelledError:
            if not engine.keeps(id):
                raise
            # It was terminated, which its row tells.
            pause = 0.0
        except Exception as error:
            if isinstance(error, BlobError) or outages.may_pass(error):
                reason = await _record_outage(server, id, outage, error)
                pause = outage.pause_seconds
            else:
                failed_rounds += 1
                log.exception("execution_round_failed", execution=id.name, round=failed_rounds)
                reason = _exhausted(error) if failed_rounds == _ROUNDS_MAX else ""
                pause = min(pause * 2 or _PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
            if reason:
                await _give_up(engine, server, id, reason)
                return


async def _record_outage(
    server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, outage: Outage, error: Exception
) -> str:
    """Record a failure of store or database; return why it ends the execution, or "" where the execution waits.

    The first failure of an outage is logged. One of the store is also added to the open attempts.
    """
    reason, of_store = str(error), isinstance(error, BlobError)
    if not outages.may_pass(error):
        log.error("execution_cannot_go_on", execution=id.name, reason=reason)
        return reason
    if outage.note():
        event = "execution_waits_for_storage" if of_store else "execution_waits_for_database"
        log.warning(event, execution=id.name, reason=reason)
        if of_store:
            await outages.show(server, id, reason)
    seconds_max = server.settings.engine.local.storage_wait_seconds_max
    if of_store and outage.seconds > seconds_max:
        return f"{reason}; waited for {seconds_max:g} s (engine.local.storageWaitSecondsMax)"
    return ""


def _exhausted(error: Exception) -> str:
    last = error.message if isinstance(error, errors.FlyteError) else repr(error)
    rounds = f"max number of system retry attempts [{_ROUNDS_MAX}/{_ROUNDS_MAX}] exhausted"
    return f"{rounds}. Last known status message: {last}"


async def _give_up(
    engine: LocalEngine, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, reason: str
) -> None:
    failure = error_of(
        "Workflow abort failed",
        f"Workflow[{id.project}:{id.domain}:{id.name}] failed. RuntimeExecutionError: {reason}",
        _Kind.SYSTEM,
    )
    rows = await _rows(server, id)
    if rows is None:
        return
    run = await _run_of(engine, server, id, rows, with_data=False)
    await aborts.end(run, aborts.AUTO_ABORT)
    await run.report.workflow(Workflow.FAILED, error=failure)


async def _once(engine: LocalEngine, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    rows = await _rows(server, id)
    if rows is None:
        return
    phase = phases.number(Workflow.Phase, rows[0].phase)
    over = phase in phases.WORKFLOW_TERMINAL or phase == Workflow.ABORTING
    run = await _run_of(engine, server, id, rows, with_data=not over)
    if over:
        await _end(run, phase)
        return
    try:
        await _execute(run)
    except Stopped:
        # Somebody else has ended the execution: everything that runs for it ends too.
        rows = await _rows(server, id)
        if rows is not None:
            await _end(run, phases.number(Workflow.Phase, rows[0].phase))


async def _end(run: Run, phase: int) -> None:
    await aborts.end(run, aborts.TERMINATED)
    if phase == Workflow.ABORTING:
        await aborts.end_launched(run)
        await run.report.workflow(Workflow.ABORTED)


async def _execute(run: Run) -> None:
    report = run.report
    frame = Frame(run=run, closure=run.closure, workflow=run.closure.primary, directory=run.root)

    async def failing(error: core_execution_pb2.ExecutionError) -> None:
        await report.workflow(Workflow.FAILING, error=error)

    try:
        graph = Graph(frame, execute, failing=failing)
        await graph.run(run.inputs, report.workflow_event(Workflow.RUNNING))
    except NodeFailed as failure:
        await report.workflow(Workflow.FAILED, error=failure.error)
        return
    output_uri = frame.site(graph.end).output_uri()
    await report.several(
        report.workflow_event(Workflow.SUCCEEDING), report.workflow_event(Workflow.SUCCEEDED, output_uri=output_uri)
    )


async def _rows(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> tuple[Any, Any, Any] | None:
    """The rows of the execution, its workflow and its launch; None when the first two were deleted."""
    async with server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, **execution_key(id))
        if row is None:
            return None
        workflow = await db.find(schema.Workflow, columns=("remote_closure_identifier", "digest"), id=row.workflow_id)
        launch = await db.find(schema.Launch, columns=("config",), **execution_key(id))
    return None if workflow is None else (row, workflow, launch)


async def _run_of(
    engine: LocalEngine,
    server: Server,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    rows: tuple[Any, Any, Any],
    *,
    with_data: bool,
) -> Run:
    """with_data: whether it is to run; what only has to be ended needs neither workflow nor inputs."""
    row, workflow, launch = rows
    spec = execution_pb2.ExecutionSpec.FromString(row.spec)
    config = _config_of(spec, launch)
    limit = server.settings.storage.limits.max_download_bytes
    closure, inputs = compiler_pb2.CompiledWorkflowClosure(), literals_pb2.LiteralMap()
    if with_data:
        closure = await engine.closures.of(workflow)
        if row.inputs_uri:
            inputs.ParseFromString(await server.blobs.read(row.inputs_uri, bytes_max=limit))
    prefix = config.raw_output_data_config.output_location_prefix or server.blobs.uri("raw")
    run = Run(
        engine=engine,
        server=server,
        id=id,
        config=config,
        workflow_id=execution_pb2.ExecutionClosure.FromString(row.closure).workflow_id,
        closure=closure,
        inputs=inputs,
        root=server.blobs.uri("metadata", "propeller", id.project, id.domain, id.name),
        raw_prefix=prefix.rstrip("/"),
        home=execution_folder(engine.home_of(id), id),
        report=Reporter(server, id),
        envs={pair.key: pair.value for pair in config.envs.values},
        parallelism=FairSemaphore(max(0, spec.max_parallelism)),
    )
    if row.phase not in ("UNDEFINED", "QUEUED"):
        await run.load_known()
    metadata = spec.metadata
    if metadata.mode == execution_pb2.ExecutionMetadata.RECOVERED and metadata.HasField("reference_execution"):
        run.recovered = await known_nodes(server, metadata.reference_execution)
    return run


def _config_of(spec: execution_pb2.ExecutionSpec, launch: Any) -> configuration.Config:
    """Return what an execution runs with: its spec, completed by launch plan, attributes and settings.

    Parity: upstream's engine runs with the merged configuration, which the stored spec does not show.
    """
    config = configuration.Config()
    if launch is not None and launch.config:
        config.ParseFromString(launch.config)
    else:
        configuration.merge(config, spec)
    return config
