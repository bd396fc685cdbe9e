"""A gRPC service in this process whose replies a test writes down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc

from tests.engine.conftest import literal_map

Phase = execution_pb2.TaskExecution

# A reply, an error of gRPC (code, detail), a function that returns one of them, or a coroutine function.
Step = Any


def resource(phase: int = 0, message: str = "", **fields: Any) -> agent_pb2.Resource:
    """The state of a task; outputs are plain values."""
    outputs = fields.pop("outputs", None)
    made = agent_pb2.Resource(phase=phase, message=message, **fields)
    if outputs is not None:
        made.outputs.CopyFrom(literal_map(outputs))
    return made


SUCCEEDED = resource(Phase.SUCCEEDED)


class Scripted(
    agent_pb2_grpc.AsyncAgentServiceServicer,  # type: ignore[misc] # generated without types
    agent_pb2_grpc.SyncAgentServiceServicer,  # type: ignore[misc]
    agent_pb2_grpc.AgentMetadataServiceServicer,  # type: ignore[misc]
):
    """Replies from lists of steps; the last step of a list repeats. Records all requests.

    `agents` are rows (type, version, is_sync). `creates`, `gets`, `deletes`, `syncs` are lists of steps.
    """

    def __init__(self, *agents: tuple[str, int, bool]) -> None:
        self.agents: Step = agents
        self.creates: list[Step] = [lambda request: agent_pb2.CreateTaskResponse(resource_meta=b"meta")]
        self.gets: list[Step] = [SUCCEEDED]
        self.deletes: list[Step] = [agent_pb2.DeleteTaskResponse()]
        self.syncs: list[Step] = [SUCCEEDED]
        self.logs: list[Step] = [(grpc.StatusCode.UNIMPLEMENTED, "no logs")]
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: list[dict[str, str]] = []
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @asynccontextmanager
    async def running(self, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Scripted]:
        await self.start(credentials)
        try:
            yield self
        finally:
            await self.stop()

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.aio.server()
        agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(self, self._server)
        agent_pb2_grpc.add_SyncAgentServiceServicer_to_server(self, self._server)
        agent_pb2_grpc.add_AgentMetadataServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self, **section: Any) -> dict[str, Any]:
        """Settings of a plane with this service as the default connector, and quick polls."""
        return {
            "plugins": {"connector_service": {"default_connector": {"endpoint": self.endpoint}, **section}},
            "engine": {"local": {"connectors": {"first_poll_seconds": 0.01}}},
        }

    async def _reply(
        self, name: str, steps: list[Step], request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        self.requests[name].append(request)
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        step = step(request) if isinstance(step, Callable) else step  # type: ignore[arg-type]
        step = await step if isinstance(step, Awaitable) else step
        if isinstance(step, tuple):
            await context.abort(*step)
        return step

    async def ListAgents(self, request: Any, context: Any) -> Any:
        self.requests["list"].append(request)
        if self.agents and not isinstance(self.agents[0], tuple):
            await context.abort(*self.agents)
        reply = agent_pb2.ListAgentsResponse()
        for name, version, is_sync in self.agents:
            agent = reply.agents.add(name=f"{name} agent", is_sync=is_sync)
            agent.supported_task_categories.add(name=name, version=version)
        return reply

    async def CreateTask(self, request: Any, context: Any) -> Any:
        return await self._reply("create", self.creates, request, context)

    async def GetTask(self, request: Any, context: Any) -> Any:
        reply = await self._reply("get", self.gets, request, context)
        return reply if isinstance(reply, agent_pb2.GetTaskResponse) else agent_pb2.GetTaskResponse(resource=reply)

    async def DeleteTask(self, request: Any, context: Any) -> Any:
        return await self._reply("delete", self.deletes, request, context)

    async def GetTaskLogs(self, request: Any, context: Any) -> Any:
        for message in await self._reply("logs", self.logs, request, context):
            yield message

    async def ExecuteTaskSync(self, request_iterator: Any, context: Any) -> Any:
        requests = [request async for request in request_iterator]
        reply = await self._reply("sync", self.syncs, requests, context)
        if isinstance(reply, agent_pb2.Resource):
            reply = agent_pb2.ExecuteTaskSyncResponse(header=agent_pb2.ExecuteTaskSyncResponseHeader(resource=reply))
        if reply is not None:
            yield reply
