"""One execution while it runs: what it runs, where its files lie, what is known of it, and how it is ended.

Its state is its event rows and the files of its attempts: a run that begins again after the server died reads the
rows first, takes what has ended from there, adopts the processes that still run, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyteidl.admin import node_execution_pb2, task_execution_pb2
from flyteidl.core import compiler_pb2, execution_pb2, identifier_pb2, literals_pb2, workflow_pb2
from flyteidl.event import event_pb2
from google.protobuf.message import DecodeError

from app.blobs import BlobMissing, BlobOutside, BlobTooLarge
from app.blobs.names import component
from app.database import schema
from app.engine.local.graph import data, names
from app.engine.local.graph.failures import BindingFailed, TooLarge
from app.engine.local.graph.reports import Reporter
from app.engine.local.processes import folders
from app.engine.local.processes.fair_semaphore import FairSemaphore
from app.runtime.dispatch import Server
from app.services import execution_config as configuration
from app.services import literal_limits, offloading
from app.services.ids import execution_key

if TYPE_CHECKING:
    from app.engine.local.engine import LocalEngine


@dataclass(frozen=True, slots=True)
class Known:
    """A node as its row tells: reported by an earlier run of the same execution, or of the one that is recovered."""

    phase: str
    closure: node_execution_pb2.NodeExecutionClosure
    input_uri: str
    dynamic_uri: str

    @property
    def created_at(self) -> float:
        """When the node was first reported, in seconds since 1970."""
        return float(self.closure.created_at.ToNanoseconds() / 1e9)

    @property
    def started_at(self) -> float:
        """When it was first reported RUNNING, in seconds since 1970; 0 when it never was."""
        return self.closure.started_at.ToNanoseconds() / 1e9 if self.closure.HasField("started_at") else 0.0


async def known_nodes(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, Known]:
    """The nodes of an execution by their unique ids."""
    columns = ("node_id", "phase", "closure", "input_uri", "dynamic_workflow_remote_closure_reference")
    async with server.database.unit_of_work() as db:
        rows = await db.find_all(schema.NodeExecution, columns=columns, **execution_key(id))
    nodes = {}
    for row in rows:
        closure = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")
        nodes[row.node_id] = Known(
            row.phase, closure, row.input_uri or "", row.dynamic_workflow_remote_closure_reference or ""
        )
    return nodes


@dataclass(slots=True)
class Run:
    """An execution and everything that its nodes need. home: folder of its attempts on this machine.

    config: what it runs with, merged of all sources; child executions inherit it.
    root: where its data lies. nodes, attempts: what earlier runs of it reported, by unique node id.
    recovered: nodes of the execution that it recovers.
    """

    engine: LocalEngine
    server: Server
    id: identifier_pb2.WorkflowExecutionIdentifier
    config: configuration.Config
    workflow_id: identifier_pb2.Identifier
    closure: compiler_pb2.CompiledWorkflowClosure
    inputs: literals_pb2.LiteralMap
    root: str
    raw_prefix: str
    home: Path
    report: Reporter
    envs: Mapping[str, str]
    parallelism: FairSemaphore
    nodes: dict[str, Known] = field(default_factory=dict)
    attempts: dict[str, dict[int, task_execution_pb2.TaskExecutionClosure]] = field(default_factory=dict)
    recovered: dict[str, Known] = field(default_factory=dict)

    @property
    def fails_immediately(self) -> bool:
        """The failure policy of the top-level workflow, which governs every graph inside."""
        policy = self.closure.primary.template.metadata.on_failure
        return bool(policy == workflow_pb2.WorkflowMetadata.FAIL_IMMEDIATELY)

    def interruptible(self, node: workflow_pb2.Node) -> bool:
        """Whether attempts of a node may run where they can be interrupted: the node's wish, else the execution's."""
        if node.metadata.WhichOneof("interruptible_value") is not None:
            return bool(node.metadata.interruptible)
        if self.config.HasField("interruptible"):
            return bool(self.config.interruptible.value)
        return bool(self.closure.primary.template.metadata_defaults.interruptible)

    async def load_known(self) -> None:
        """Read what earlier runs of this execution have reported."""
        self.nodes = await known_nodes(self.server, self.id)
        columns = ("node_id", "retry_attempt", "phase_version", "closure")
        async with self.server.database.unit_of_work() as db:
            rows = await db.find_all(schema.TaskExecution, columns=columns, **execution_key(self.id))
        for row in rows:
            closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
            self.attempts.setdefault(row.node_id, {})[row.retry_attempt] = closure
        versions = {(row.node_id, row.retry_attempt): row.phase_version or 0 for row in rows}
        self.report.know(self.nodes, self.attempts, versions)

    def folder(self, unique_id: str) -> Path:
        """Where the attempts of a node lie on this machine, each in <attempt>/."""
        return folders.node_folder(self.home, unique_id)

    async def bytes_of(self, uri: str) -> bytes:
        """An object from the store, if it is not too large. errors: BlobError"""
        limit = self.server.settings.storage.limits.max_download_bytes
        return await self.server.blobs.read(uri, bytes_max=limit)

    async def closure_bytes(self, uri: str) -> bytes:
        """The stored workflow of a dynamic node. errors: BlobError"""
        limit = self.server.settings.storage.limits.closure_bytes_max
        return await self.server.blobs.read(uri, bytes_max=limit)

    async def read(self, uri: str) -> literals_pb2.LiteralMap:
        """A literal map from the store. errors: BlobError"""
        return literals_pb2.LiteralMap.FromString(await self.bytes_of(uri))

    async def whole(self, literal: literals_pb2.Literal) -> literals_pb2.Literal:
        """The literal itself, where it may be one that lies in the store. errors: BlobError"""
        return await offloading.whole(self.server.settings, self.server.blobs, literal)

    async def resolve(
        self, bindings: Iterable[literals_pb2.Binding], outputs_of: data.Outputs
    ) -> literals_pb2.LiteralMap:
        """The literals of bindings, as data.resolve gives them; what has to be read for them is read.

        errors: BindingFailed naming the variable or the file
        """
        contents: dict[str, literals_pb2.Literal] = {}
        while True:
            try:
                return data.resolve(bindings, outputs_of, contents)
            except data.Offloaded as offloaded:
                contents[offloaded.uri] = await self.offloaded(offloaded.uri)

    async def offloaded(self, uri: str) -> literals_pb2.Literal:
        """Return a literal that a task or a client has put into a file of its own.

        Raises:
            BindingFailed: When the file cannot be read, with the reason.
        """
        given = literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri))
        try:
            literal = await self.whole(given)
        except (BlobMissing, BlobOutside, BlobTooLarge, DecodeError) as error:
            raise BindingFailed(f"the offloaded literal at [{uri}] cannot be read: {error}") from error
        if literal.WhichOneof("value") == "offloaded_metadata":
            raise BindingFailed(f"the offloaded literal at [{uri}] is offloaded itself")
        return literal

    async def with_contents(self, values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """Return the values with offloaded literals read, for readers that look into them.

        Raises:
            BindingFailed: When a file cannot be read, with the reason.
        """
        if not any(one.WhichOneof("value") == "offloaded_metadata" for one in values.literals.values()):
            return values
        whole = literals_pb2.LiteralMap()
        for name, literal in values.literals.items():
            uri = literal.offloaded_metadata.uri
            whole.literals[name].CopyFrom(await self.offloaded(uri) if uri else literal)
        return whole

    async def write(self, uri: str, values: literals_pb2.LiteralMap) -> None:
        """Write a literal map to the store.

        Raises:
            TooLarge: The map exceeds the size limit of literals.
            BlobError: The object cannot be stored.
        """
        what = "inputs" if uri.endswith("/inputs.pb") else "outputs"
        reason = literal_limits.excess(self.server.settings, what, values)
        if reason:
            raise TooLarge("InputSizeExceeded" if what == "inputs" else "OutputSizeExceeded", reason)
        await self.server.blobs.write(uri, values.SerializeToString(deterministic=True))

    async def compose(self, uri: str, directory: str, values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """Write a literal map that the engine has composed; return it as it was written.

        Where it is too large, its largest literals are offloaded to the directory. Errors as `write`.
        """
        slim = await offloading.offload(self.server.settings, self.server.blobs, directory, values)
        await self.write(uri, slim)
        return slim


@dataclass(slots=True)
class Frame:
    """One graph inside a run: the workflow itself, a sub-workflow, a dynamic workflow or the inside of a branch.

    directory: where its nodes' folders lie. parent: the node it belongs to, None at the top; attempt: that node's.
    dynamic_depth: the dynamic nodes around it.
    outputs: of the nodes that have ended well; finished: set when a node has ended, however. The inside of a branch
    shares both with the frame around it, as its nodes read and wait for nodes there.
    """

    run: Run
    closure: compiler_pb2.CompiledWorkflowClosure
    workflow: compiler_pb2.CompiledWorkflow
    directory: str
    parent: Site | None = None
    attempt: int = 0
    dynamic_depth: int = 0
    outputs: dict[str, literals_pb2.LiteralMap] = field(default_factory=dict)
    finished: dict[str, asyncio.Event] = field(default_factory=dict)

    def outputs_of(self, node_id: str) -> literals_pb2.LiteralMap | None:
        """What a node that this frame's nodes may read has put out, None while it has not."""
        return self.outputs.get(node_id)

    def site(self, node: workflow_pb2.Node) -> Site:
        """Where a node of this frame stands: its unique id and its folder."""
        folder = f"{self.directory}/{component(node.id)}"
        if self.parent is None:
            return Site(self, node, node.id, f"{folder}/data")
        return Site(self, node, names.node_unique_id(self.parent.unique_id, self.attempt, node.id), folder)

    def task(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledTask | None:
        """The compiled task of this id."""
        return next((task for task in self.closure.tasks if task.template.id == id), None)

    def sub_workflow(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledWorkflow | None:
        """The compiled sub-workflow of this id."""
        return next((one for one in self.closure.sub_workflows if one.template.id == id), None)


@dataclass(frozen=True, slots=True)
class Site:
    """A node in its frame. directory: with inputs.pb and a folder for each attempt.

    error, failed_node: on a failure node, what it is run for.
    """

    frame: Frame
    node: workflow_pb2.Node
    unique_id: str
    directory: str
    error: execution_pb2.ExecutionError | None = None
    failed_node: str = ""

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
        event.is_in_dynamic_chain = self.frame.dynamic_depth > 0
        kind = self.node.WhichOneof("target")
        if kind == "task_node":
            event.target_entity.CopyFrom(self.node.task_node.reference_id)
        elif kind == "workflow_node" and self.node.workflow_node.HasField("launchplan_ref"):
            event.target_entity.CopyFrom(self.node.workflow_node.launchplan_ref)
        elif kind == "array_node":
            event.is_array = True
        return event
