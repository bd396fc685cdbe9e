"""An execution while it runs: the execution itself, the graphs inside it, and the nodes of each graph.

The state that survives a server lies in the database and in the folders of attempts. A run that resumes an execution
reads the recorded nodes and attempts first, adopts the processes that still run, and continues from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from flyteidl.core import compiler_pb2, execution_pb2, identifier_pb2, literals_pb2, tasks_pb2, workflow_pb2
from flyteidl.event import event_pb2

from app.blobs.object_names import component
from app.engine.local.graph import unique_ids
from app.engine.local.graph.events import EventSender
from app.engine.local.graph.history import AttemptClosure, RecordedNode, recorded_attempts, recorded_nodes
from app.engine.local.graph.literal_store import LiteralStore
from app.engine.local.host import Host
from app.engine.local.processes import folders
from app.runtime.dispatch import Server
from app.runtime.fair_semaphore import FairSemaphore, Permit
from app.services import execution_config as configuration

NodeHandler: TypeAlias = "Callable[[NodeContext, literals_pb2.LiteralMap, Permit], Awaitable[literals_pb2.LiteralMap]]"
TaskHandler: TypeAlias = (
    "Callable[[NodeContext, tasks_pb2.TaskTemplate, literals_pb2.LiteralMap], Awaitable[literals_pb2.LiteralMap]]"
)


@dataclass(frozen=True, slots=True)
class Handlers:
    """The functions that run nodes (nodes/table.py). Each runs one node from its inputs to its last event.

    Attributes:
        nodes: By kind of node, as `NodeContext.kind` names it.
        tasks: By task type, for types that run without a process of their own.
    """

    nodes: Mapping[str, NodeHandler]
    tasks: Mapping[str, TaskHandler]


@dataclass(slots=True)
class ExecutionState:
    """An execution and everything that its nodes need.

    Attributes:
        config: The configuration merged of all sources; child executions inherit it.
        principal: The user id of the launcher.
        root: The prefix of its data in the store.
        raw_prefix: The prefix of the raw data of its tasks.
        home: The folder of its attempts on this machine.
        parallelism: Limits the nodes that run at a time.
        recorded_nodes: Nodes that earlier runs of this execution have reported, by unique node id.
        recorded_attempts: Attempts that earlier runs of this execution have reported, by unique node id and attempt.
        recovered_nodes: Nodes of the execution that this one recovers, by unique node id.
    """

    host: Host
    handlers: Handlers
    server: Server
    id: identifier_pb2.WorkflowExecutionIdentifier
    config: configuration.Config
    principal: str
    workflow_id: identifier_pb2.Identifier
    closure: compiler_pb2.CompiledWorkflowClosure
    inputs: literals_pb2.LiteralMap
    root: str
    raw_prefix: str
    home: Path
    events: EventSender
    literals: LiteralStore
    envs: Mapping[str, str]
    parallelism: FairSemaphore
    recorded_nodes: dict[str, RecordedNode] = field(default_factory=dict)
    recorded_attempts: dict[str, dict[int, AttemptClosure]] = field(default_factory=dict)
    recovered_nodes: dict[str, RecordedNode] = field(default_factory=dict)

    @property
    def fails_immediately(self) -> bool:
        """Return the failure policy of the top-level workflow, which applies to every graph inside it."""
        policy = self.closure.primary.template.metadata.on_failure
        return bool(policy == workflow_pb2.WorkflowMetadata.FAIL_IMMEDIATELY)

    def interruptible(self, node: workflow_pb2.Node) -> bool:
        """Return whether a node is interruptible: by its own setting, else the execution's or the workflow's."""
        if node.metadata.WhichOneof("interruptible_value") is not None:
            return bool(node.metadata.interruptible)
        if self.config.HasField("interruptible"):
            return bool(self.config.interruptible.value)
        return bool(self.closure.primary.template.metadata_defaults.interruptible)

    async def load_history(self) -> None:
        """Read the nodes and attempts that earlier runs of this execution have reported."""
        self.recorded_nodes = await recorded_nodes(self.server, self.id)
        attempts = await recorded_attempts(self.server, self.id)
        self.recorded_attempts = attempts.closures
        self.events.load(self.recorded_nodes, attempts)

    def folder(self, unique_id: str) -> Path:
        """Return the folder of a node's attempts on this machine, with a subfolder for each attempt."""
        return folders.node_folder(self.home, unique_id)


@dataclass(slots=True)
class GraphScope:
    """One graph of an execution: the workflow, a sub-workflow, a dynamic workflow, or the inside of a branch.

    The inside of a branch shares `outputs` and `finished` with the graph around it: its nodes read outputs of that
    graph's nodes and wait for them.

    Attributes:
        directory: The prefix below which the folders of its nodes lie in the store.
        parent: The node that the graph belongs to; None for the workflow itself.
        attempt: The attempt of the parent node.
        dynamic_depth: How many dynamic nodes lie around the graph.
        outputs: Outputs of the nodes that have succeeded, by node id.
        finished: Set when a node has ended in whatever phase, by node id.
    """

    execution: ExecutionState
    closure: compiler_pb2.CompiledWorkflowClosure
    workflow: compiler_pb2.CompiledWorkflow
    directory: str
    parent: NodeContext | None = None
    attempt: int = 0
    dynamic_depth: int = 0
    outputs: dict[str, literals_pb2.LiteralMap] = field(default_factory=dict)
    finished: dict[str, asyncio.Event] = field(default_factory=dict)

    def context(self, node: workflow_pb2.Node) -> NodeContext:
        """Return the context of a node of this graph."""
        folder = f"{self.directory}/{component(node.id)}"
        if self.parent is None:
            return NodeContext(self, node, node.id, f"{folder}/data")
        return NodeContext(self, node, unique_ids.node_unique_id(self.parent.unique_id, self.attempt, node.id), folder)

    def task(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledTask | None:
        """Return the compiled task with an id."""
        return next((task for task in self.closure.tasks if task.template.id == id), None)

    def sub_workflow(self, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledWorkflow | None:
        """Return the compiled sub-workflow with an id."""
        return next((one for one in self.closure.sub_workflows if one.template.id == id), None)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """A node with its place in an execution.

    Attributes:
        unique_id: The node execution id, unique in the execution.
        directory: The prefix in the store of inputs.pb and of a folder for each attempt.
        error: On a failure node, the error that it is run for.
        failed_node: On a failure node, the id of the node that failed.
    """

    scope: GraphScope
    node: workflow_pb2.Node
    unique_id: str
    directory: str
    error: execution_pb2.ExecutionError | None = None
    failed_node: str = ""

    @property
    def execution(self) -> ExecutionState:
        """Return the execution that the node belongs to."""
        return self.scope.execution

    @property
    def kind(self) -> str:
        """Return the member of the node's oneof, with launch plan nodes apart from sub-workflows."""
        kind = self.node.WhichOneof("target") or ""
        if kind == "workflow_node":
            return "launch_plan" if self.node.workflow_node.HasField("launchplan_ref") else "sub_workflow"
        return kind

    @property
    def input_uri(self) -> str:
        """Return the address of the node's inputs."""
        return f"{self.directory}/inputs.pb"

    def output_dir(self, attempt: int = 0) -> str:
        """Return the folder that an attempt writes to."""
        return f"{self.directory}/{attempt}"

    def output_uri(self, attempt: int = 0) -> str:
        """Return the address of the outputs of an attempt."""
        return f"{self.output_dir(attempt)}/outputs.pb"

    @property
    def recorded(self) -> RecordedNode | None:
        """Return the node as an earlier run of the execution has reported it."""
        return self.execution.recorded_nodes.get(self.unique_id)

    @property
    def recorded_attempts(self) -> Mapping[int, AttemptClosure]:
        """Return the attempts that an earlier run of the execution has reported of this node."""
        return self.execution.recorded_attempts.get(self.unique_id, {})

    @property
    def recovered(self) -> RecordedNode | None:
        """Return the same node of the execution that this one recovers."""
        return self.execution.recovered_nodes.get(self.unique_id)

    def event(self, phase: int, **fields: Any) -> event_pb2.NodeExecutionEvent:
        """Return an event of this node, with the fields that are the same in all of them.

        Args:
            phase: Of core.NodeExecution.
            **fields: Further fields of the event. `input_uri` names the node's inputs by default.
        """
        fields.setdefault("input_uri", self.input_uri)
        event = event_pb2.NodeExecutionEvent(
            phase=phase, spec_node_id=self.node.id, node_name=self.node.metadata.name, event_version=1, **fields
        )
        event.id.execution_id.CopyFrom(self.execution.id)
        event.id.node_id = self.unique_id
        if self.scope.parent is not None:
            event.parent_node_metadata.node_id = self.scope.parent.unique_id
            event.retry_group = str(self.scope.attempt)
        event.is_in_dynamic_chain = self.scope.dynamic_depth > 0
        if self.kind == "task_node":
            event.target_entity.CopyFrom(self.node.task_node.reference_id)
        elif self.kind == "launch_plan":
            event.target_entity.CopyFrom(self.node.workflow_node.launchplan_ref)
        elif self.kind == "array_node":
            event.is_array = True
        return event
