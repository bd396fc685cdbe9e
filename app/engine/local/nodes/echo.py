"""Tasks of type `echo`: the outputs are the inputs, and no process runs.

Source: flyteplugins go/tasks/plugins/testing/echo.go.
"""

from __future__ import annotations

from functools import partial

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2

from app.engine.local.graph.ends import fail
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.task_events import attempt_event
from app.engine.local.processes import commands
from app.engine.local.processes.task_attempt import CannotBuild

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution


async def run_echo(
    context: NodeContext, task: tasks_pb2.TaskTemplate, inputs: literals_pb2.LiteralMap
) -> literals_pb2.LiteralMap:
    """Run a task node whose task is of type `echo`.

    Raises:
        NodeFailed: The task has not one output for each input; the node's events are sent.
    """
    execution = context.execution
    event = partial(attempt_event, context, task, 0, interruptible=execution.interruptible(context.node))
    await execution.events.send(context.event(Node.QUEUED))
    try:
        outputs = commands.echo(task, inputs)
    except CannotBuild as error:
        raise await fail(context, error.error, event(Task.FAILED, error=error.error)) from error
    uri = context.output_uri()
    await execution.literals.write(uri, outputs)
    await execution.events.send(event(Task.SUCCEEDED, output_uri=uri), context.event(Node.SUCCEEDED, output_uri=uri))
    return outputs
