"""One execution while it runs: what it runs, where its files lie, what is known of it, and how it is ended.

Its state is its event rows and the files of its attempts: a run that begins again after the server died reads the
rows first, takes what has ended from there, adopts the processes that still run, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyteidl.admin import execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2, workflow_pb2
from flyteidl.event import event_pb2

from app import schema
from app.engine.local import names
from app.engine.local.reports import Reporter
from app.engine.local.slots import Slots
from app.services.ids import execution_key
from app.work import Server

if TYPE_CHECKING:
    from app.engine.local.engine import LocalEngine


@dataclass(frozen=True, slots=True)
class Known:
    """A node that an earlier run of the same execution reported."""

    phase: str
    closure: node_execution_pb2.NodeExecutionClosure
    input_uri: str


@dataclass(slots=True)
class Run:
    """An execution and everything that its nodes need. home: folder of its attempts on this machine.

    root: where its data lies. closures: of the workflow and, by node, of dynamic ones. reason: why it is being aborted.
    """

    engine: LocalEngine
    server: Server
    id: identifier_pb2.WorkflowExecutionIdentifier
    spec: execution_pb2.ExecutionSpec
    workflow_id: identifier_pb2.Identifier
    closure: compiler_pb2.CompiledWorkflowClosure
    inputs: literals_pb2.LiteralMap
    root: str
    raw_prefix: str
    home: Path
    report: Reporter
    envs: Mapping[str, str]
    parallelism: Slots
    nodes: dict[str, Known] = field(default_factory=dict)
    attempts: dict[str, dict[int, task_execution_pb2.TaskExecution]] = field(default_factory=dict)
    reason: str = ""

    @property
    def fails_immediately(self) -> bool:
        """The failure policy of the top-level workflow, which governs every graph inside."""
        policy = self.closure.primary.template.metadata.on_failure
        return bool(policy == workflow_pb2.WorkflowMetadata.FAIL_IMMEDIATELY)

    async def load_known(self) -> None:
        """Read what earlier runs of this execution have reported."""
        async with self.server.database.unit_of_work() as db:
            nodes = await db.find_all(
                schema.NodeExecution, columns=("node_id", "phase", "closure", "input_uri"), **execution_key(self.id)
            )
            tasks = await db.find_all(
                schema.TaskExecution, columns=("node_id", "retry_attempt", "closure"), **execution_key(self.id)
            )
        for row in nodes:
            closure = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")
            self.nodes[row.node_id] = Known(row.phase, closure, row.input_uri or "")
        for row in tasks:
            task = task_execution_pb2.TaskExecution()
            task.closure.ParseFromString(row.closure or b"")
            self.attempts.setdefault(row.node_id, {})[row.retry_attempt] = task

    async def read(self, uri: str) -> literals_pb2.LiteralMap:
        """A literal map from the store. errors: BlobError"""
        limit = self.server.settings.storage.limits.max_download_bytes
        return literals_pb2.LiteralMap.FromString(await self.server.blobs.read(uri, bytes_max=limit))

    async def write(self, uri: str, values: literals_pb2.LiteralMap) -> None:
        """A literal map to the store. errors: BlobError"""
        await self.server.blobs.write(uri, values.SerializeToString(deterministic=True))


@dataclass(slots=True)
class Frame:
    """One graph inside a run: the workflow itself, a sub-workflow, a dynamic workflow or the inside of a branch.

    directory: where its nodes' folders lie. parent: the node it belongs to, None at the top. outputs: of the nodes that
    have ended well; finished: their ends. The inside of a branch shares both with the frame around it, as its nodes
    read and wait for nodes there. reason: why its nodes are being aborted, "" while they are not.
    """

    run: Run
    closure: compiler_pb2.CompiledWorkflowClosure
    workflow: compiler_pb2.CompiledWorkflow
    directory: str
    parent: Site | None = None
    attempt: int = 0
    in_dynamic: bool = False
    outer: Frame | None = None
    outputs: dict[str, literals_pb2.LiteralMap] = field(default_factory=dict)
    finished: dict[str, asyncio.Event] = field(default_factory=dict)
    reason: str = ""

    @property
    def abort_reason(self) -> str:
        """Why the nodes of this frame are to end now, "" when the server merely stops."""
        return self.reason or (self.outer.abort_reason if self.outer is not None else self.run.reason)

    def outputs_of(self, node_id: str) -> literals_pb2.LiteralMap | None:
        """What a node that this frame's nodes may read has put out, None while it has not."""
        return self.outputs.get(node_id)

    def site(self, node: workflow_pb2.Node) -> Site:
        """Where a node of this frame stands: its unique id and its folder."""
        if self.parent is None:
            return Site(self, node, node.id, f"{self.directory}/{node.id}/data")
        unique_id = names.node_unique_id(self.parent.unique_id, self.attempt, node.id)
        return Site(self, node, unique_id, f"{self.directory}/{node.id}")

    def task(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledTask | None:
        """The compiled task of this id."""
        return next((task for task in self.closure.tasks if task.template.id == id), None)

    def sub_workflow(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledWorkflow | None:
        """The compiled sub-workflow of this id."""
        return next((one for one in self.closure.sub_workflows if one.template.id == id), None)


@dataclass(frozen=True, slots=True)
class Site:
    """A node in its frame. directory holds inputs.pb and a folder for each attempt."""

    frame: Frame
    node: workflow_pb2.Node
    unique_id: str
    directory: str

    @property
    def run(self) -> Run:
        return self.frame.run

    @property
    def input_uri(self) -> str:
        return f"{self.directory}/inputs.pb"

    def output_dir(self, attempt: int = 0) -> str:
        """The folder that an attempt writes to."""
        return f"{self.directory}/{attempt}"

    def output_uri(self, attempt: int = 0) -> str:
        return f"{self.output_dir(attempt)}/outputs.pb"

    @property
    def known(self) -> Known | None:
        """What an earlier run reported of this node."""
        return self.run.nodes.get(self.unique_id)

    def event(self, phase: int, **fields: Any) -> event_pb2.NodeExecutionEvent:
        """An event of this node with all that never changes."""
        event = event_pb2.NodeExecutionEvent(
            phase=phase, spec_node_id=self.node.id, node_name=self.node.metadata.name, event_version=1, **fields
        )
        event.id.execution_id.CopyFrom(self.run.id)
        event.id.node_id = self.unique_id
        if self.frame.parent is not None:
            event.parent_node_metadata.node_id = self.frame.parent.unique_id
            event.retry_group = str(self.frame.attempt)
        event.is_in_dynamic_chain = self.frame.in_dynamic
        kind = self.node.WhichOneof("target")
        if kind == "task_node":
            event.target_entity.CopyFrom(self.node.task_node.reference_id)
        elif kind == "workflow_node" and self.node.workflow_node.HasField("launchplan_ref"):
            event.target_entity.CopyFrom(self.node.workflow_node.launchplan_ref)
        elif kind == "array_node":
            event.is_array = True
        return event
