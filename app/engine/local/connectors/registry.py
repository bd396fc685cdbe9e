"""Which service runs which task type: the types that services announce, and the routes of the settings.

Each service is asked at the start and then at an interval. The types of a service that does not reply are kept.
Deviates: upstream forgets them, and keeps one version of each type only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import grpc
import structlog
from flyteidl.admin import agent_pb2

from app import limited_log
from app.engine.local.connectors.connection import CallFailed, ConnectorConnection
from app.engine.local.connectors.deployments import OWN

log = structlog.get_logger(__name__)

# A task waits so long for the first answers of all services.
FIRST_ROUND_SECONDS = 10.0
_NAME_CHARACTERS_MAX = 200
_TYPES_MAX = 10_000


@dataclass(slots=True)
class ServiceState:
    """The types of one service, and its last answer.

    Attributes:
        connection: The connection to it.
        types: Whether a type is synchronous, by name and version; None before the first answer.
        answered_at: When it last replied to ListAgents, in seconds since 1970; 0 for never.
        problem: Why the last ListAgents failed; "" after a reply.
    """

    connection: ConnectorConnection
    types: dict[tuple[str, int], bool] | None = None
    answered_at: float = 0.0
    problem: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> None:
        """Ask the service for its types."""
        target = self.connection.target
        try:
            reply = await self.connection.list_agents()
        except CallFailed as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:
                # Services of old versions announce nothing: the types of the settings apply.
                self._learn({})
                return
            self.problem = str(error)
            limited_log.warning(
                "connector_service_does_not_reply", key=target.name, service=target.name, reason=self.problem[:500]
            )
        else:
            self._learn(_types_of(reply))
        finally:
            self.asked.set()

    def _learn(self, types: dict[tuple[str, int], bool]) -> None:
        if types != self.types or self.problem:
            shown = [f"{name} {version}" for name, version in sorted(types)]
            log.info(
                "connector_service_replied",
                service=self.connection.target.name,
                endpoint=self.connection.target.deployment.endpoint,
                types=shown[:100],
            )
        self.types, self.answered_at, self.problem = types, time.time(), ""


def _types_of(reply: agent_pb2.ListAgentsResponse) -> dict[tuple[str, int], bool]:
    types: dict[tuple[str, int], bool] = {}
    for agent in reply.agents:
        announced = [(name, 0) for name in agent.supported_task_types]
        announced += [(category.name, category.version) for category in agent.supported_task_categories]
        for name, version in announced:
            if name and len(name) <= _NAME_CHARACTERS_MAX and len(types) < _TYPES_MAX:
                types[name, version] = agent.is_sync
    return types


@dataclass(frozen=True, slots=True)
class Route:
    """The service that runs a task, and how.

    Attributes:
        connection: The connection to the service.
        task_type: The type of the task.
        version: The version that the service announces.
        sync: Whether the service runs the task within one call.
        distribution: The archive of code of flytekit's own service; "" for none.
    """

    connection: ConnectorConnection
    task_type: str
    version: int
    sync: bool
    distribution: str = ""

    @property
    def plugin(self) -> str:
        """Return the name of upstream's plugin."""
        return self.connection.target.plugin


class Registry:
    """The services of the settings, and what they announce.

    Args:
        connections: The services, in the order in which they are preferred.
        routes: Plugin and service id by task type, both in lower case.
    """

    def __init__(self, connections: Iterable[ConnectorConnection], routes: Mapping[str, tuple[str, str]]) -> None:
        self.services = [ServiceState(connection) for connection in connections]
        self._routes = routes
        self._asking: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to ask the services for their types."""
        self._asking = [asyncio.create_task(self._keep_asking(one)) for one in self.services]

    async def stop(self) -> None:
        """Stop asking, and close the connections."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await asyncio.gather(*(one.connection.close() for one in self.services))

    def explicit(self, task_type: str) -> tuple[str, str] | None:
        """Return plugin and service id that the settings name for a type."""
        return self._routes.get(task_type.lower())

    def by_id(self, plugin: str, id: str) -> ServiceState | None:
        """Return a service by its id, compared without case."""
        for one in self.services:
            target = one.connection.target
            if target.plugin == plugin and target.id.lower() == id.lower():
                return one
        return None

    async def wait_for_answers(self) -> None:
        """Wait until each service was asked once, at most FIRST_ROUND_SECONDS."""
        waiting = [asyncio.ensure_future(one.asked.wait()) for one in self.services if not one.asked.is_set()]
        if waiting:
            _, unanswered = await asyncio.wait(waiting, timeout=FIRST_ROUND_SECONDS)
            for task in unanswered:
                task.cancel()

    def find(self, task_type: str, version: int, *, fallback: int | None = None) -> Route | None:
        """Return the service that runs a type; None where no service of the settings does.

        Args:
            task_type: The type.
            version: The version in the template.
            fallback: A version that is tried where that one is not announced; None for none.
        """
        named = self.explicit(task_type)
        if named is not None and named[1] != OWN:
            service = self.by_id(*named)
            return None if service is None else route_in(service, task_type, version, fallback, certain=True)
        if named is not None:
            return None
        for service in self.services:
            route = route_in(service, task_type, version, fallback, certain=False)
            if route is not None:
                return route
        return self._default(task_type, version)

    def _default(self, task_type: str, version: int) -> Route | None:
        """Return the default service for the types of the settings, and for other versions of announced types."""
        known = any(name == task_type for one in self.services for name, _ in one.types or ())
        for one in self.services:
            target = one.connection.target
            if not target.id and (known or task_type in target.supported_types):
                return Route(one.connection, task_type, version, sync=False)
        return None

    def asked(self) -> str:
        """Return the services with their endpoints and problems, for messages."""
        return "; ".join(
            f"{one.connection.target.name} at {one.connection.target.deployment.endpoint}"
            + (f" ({one.problem})" if one.problem else "")
            for one in self.services
        )

    async def _keep_asking(self, service: ServiceState) -> None:
        while True:
            try:
                await service.ask()
            except Exception as error:
                # The loop must survive any exception: without it no new type is learned.
                service.problem = repr(error)
                log.exception("connector_service_not_asked", service=service.connection.target.name)
            await asyncio.sleep(service.connection.target.discovery_seconds)


def route_in(
    service: ServiceState, task_type: str, version: int, fallback: int | None, *, certain: bool
) -> Route | None:
    """Return the route of a task to a service; None where the service does not announce the type.

    Args:
        service: The service.
        task_type: The type.
        version: The version in the template.
        fallback: A version that is tried where that one is not announced; None for none.
        certain: Whether the service is taken in any case.
    """
    types = service.types or {}
    for candidate in (version, *(() if fallback is None else (fallback,))):
        if (task_type, candidate) in types:
            return Route(service.connection, task_type, candidate, types[task_type, candidate])
    if not certain:
        return None
    sync = next((sync for (name, _), sync in sorted(types.items()) if name == task_type), False)
    return Route(service.connection, task_type, version, sync)
