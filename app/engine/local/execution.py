"""One execution from its launch record to its last event.

Source: flytepropeller pkg/controller/workflow/executor.go.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from flyteidl.admin import execution_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from app import errors, schema
from app.blobs import BlobError
from app.engine.local.failures import NodeFailed, Stopped, error_of
from app.engine.local.graph import Graph
from app.engine.local.nodes import execute
from app.engine.local.reports import Reporter
from app.engine.local.run import Frame, Run
from app.engine.local.slots import Slots
from app.services import phases
from app.services.ids import execution_key
from app.work import Server

if TYPE_CHECKING:
    from app.engine.local.engine import LocalEngine

log = structlog.get_logger(__name__)

Workflow = core_execution_pb2.WorkflowExecution
_Kind = core_execution_pb2.ExecutionError

_ROUNDS_MAX = 5
_PAUSE_SECONDS = 1.0


async def run_execution(engine: LocalEngine, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Run an execution to its end, or go on with one that an earlier process began.

    A store or database that does not answer is waited for a few times, then the execution ends FAILED.
    """
    report = Reporter(server, id)
    for round in range(1, _ROUNDS_MAX + 1):
        try:
            await _once(engine, server, id, report)
            return
        except Stopped:
            return
        except (BlobError, errors.FlyteError) as error:
            log.warning("execution_round_failed", execution=id.name, round=round, reason=error.message)
            last = error.message
        await asyncio.sleep(_PAUSE_SECONDS * 2**round)
    failure = error_of(
        "Workflow abort failed",
        f"Workflow[{id.project}:{id.domain}:{id.name}] failed. RuntimeExecutionError: max number of system retry "
        f"attempts [{_ROUNDS_MAX}/{_ROUNDS_MAX}] exhausted. Last known status message: {last}",
        _Kind.SYSTEM,
    )
    await report.workflow(Workflow.FAILED, error=failure)


async def _once(
    engine: LocalEngine, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, report: Reporter
) -> None:
    row, workflow = await _rows(server, id)
    phase = phases.number(Workflow.Phase, row.phase)
    if phase in phases.WORKFLOW_TERMINAL:
        return
    if phase == Workflow.ABORTING and row.started_at is None:
        await report.workflow(Workflow.ABORTED)
        return
    run = await _run_of(engine, server, id, report, row, workflow)
    engine.live(run)
    try:
        if phase == Workflow.ABORTING:
            run.reason = "Workflow aborted."
            raise asyncio.CancelledError
        await _execute(run)
    except asyncio.CancelledError:
        if not run.reason:
            raise
        await report.workflow(Workflow.ABORTED)


async def _execute(run: Run) -> None:
    report = run.report
    await report.workflow(Workflow.RUNNING)
    frame = Frame(run=run, closure=run.closure, workflow=run.closure.primary, directory=run.root)

    async def failing(error: core_execution_pb2.ExecutionError) -> None:
        await report.workflow(Workflow.FAILING, error=error)

    try:
        await Graph(frame, execute, failing=failing).run(run.inputs)
    except NodeFailed as failure:
        await report.workflow(Workflow.FAILING, error=failure.error)
        await report.workflow(Workflow.FAILED, error=failure.error)
        return
    await report.workflow(Workflow.SUCCEEDING)
    await report.workflow(Workflow.SUCCEEDED, output_uri=f"{run.root}/end-node/data/0/outputs.pb")


async def _rows(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> tuple[Any, Any]:
    async with server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, **execution_key(id))
        if row is None:
            raise Stopped(f"execution {id.name} is gone")
        workflow = await db.find(schema.Workflow, columns=("remote_closure_identifier",), id=row.workflow_id)
    if workflow is None:
        raise Stopped(f"the workflow of execution {id.name} is gone")
    return row, workflow


async def _run_of(
    engine: LocalEngine,
    server: Server,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    report: Reporter,
    row: Any,
    workflow: Any,
) -> Run:
    spec = execution_pb2.ExecutionSpec.FromString(row.spec)
    closure = execution_pb2.ExecutionClosure.FromString(row.closure)
    limit = server.settings.storage.limits.max_download_bytes
    raw = await server.blobs.read(workflow.remote_closure_identifier, bytes_max=limit)
    inputs = literals_pb2.LiteralMap()
    if row.inputs_uri:
        inputs.ParseFromString(await server.blobs.read(row.inputs_uri, bytes_max=limit))
    prefix = spec.raw_output_data_config.output_location_prefix or server.blobs.uri("raw")
    run = Run(
        engine=engine,
        server=server,
        id=id,
        spec=spec,
        workflow_id=closure.workflow_id,
        closure=_closure(raw),
        inputs=inputs,
        root=server.blobs.uri("metadata", "propeller", f"{id.project}-{id.domain}-{id.name}"),
        raw_prefix=prefix.rstrip("/"),
        home=server.settings.home_path / "attempts" / f"{id.project}-{id.domain}-{id.name}",
        report=report,
        envs={pair.key: pair.value for pair in spec.envs.values},
        parallelism=Slots(max(0, spec.max_parallelism)),
    )
    if row.phase not in ("UNDEFINED", "QUEUED"):
        await run.load_known()
    return run


@lru_cache(maxsize=64)
def _closure(raw: bytes) -> compiler_pb2.CompiledWorkflowClosure:
    """A thousand executions of one workflow share one parsed closure; nobody changes it."""
    return workflow_pb2.WorkflowClosure.FromString(raw).compiled_workflow
