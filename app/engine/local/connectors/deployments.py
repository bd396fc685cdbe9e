"""The services of the settings: their addresses, deadlines and credentials, and the routes by task type."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from app.settings import Settings
from app.settings.connectors import AGENT_SERVICE, CONNECTOR_SERVICE, Deployment, ServicesSection

# The id of flytekit's own service, which this server starts.
OWN = "flytekit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorTarget:
    """A service that this server calls.

    Attributes:
        plugin: connector-service or agent-service.
        id: The id in the settings; "" for the default service, OWN for the one that this server starts.
        deployment: Address, deadlines and credentials.
        supported_types: Types that the service runs although it does not announce them.
        poll_seconds_max: Longest time between two polls of a task.
        discovery_seconds: Time between two questions for its types.
        failures_max: Failed polls in a row that a task survives.
        calls_max: GetTask calls at once.
        calls_a_second: GetTask calls a second.
        burst: GetTask calls that may exceed the rate at once.
        token: A token that each call carries; "" for none.
    """

    plugin: str
    id: str
    deployment: Deployment
    supported_types: tuple[str, ...] = ()
    poll_seconds_max: float = 30.0
    discovery_seconds: float = 10.0
    failures_max: int = 5
    calls_max: int = 50
    calls_a_second: float = 10.0
    burst: int = 100
    token: str = ""

    @property
    def name(self) -> str:
        """Return the key of the service in the settings, for messages."""
        word = "Connector" if self.plugin == CONNECTOR_SERVICE else "Agent"
        if self.id == OWN:
            return "flytekit's service of connectors (engine.local.connectors.service)"
        return f"plugins.{self.plugin}." + (f"{word.lower()}s.{self.id}" if self.id else f"default{word}")

    @property
    def insecure(self) -> bool:
        """Return whether to connect without TLS."""
        if self.deployment.insecure is not None:
            return self.deployment.insecure
        return is_loopback(self.deployment.endpoint)


def is_loopback(endpoint: str) -> bool:
    """Return whether a target of gRPC is an address of this machine or a Unix socket."""
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def targets_of(settings: Settings) -> list[ConnectorTarget]:
    """Return the services of the settings: of each section the default one first, then the others in order of id."""
    plugins = settings.plugins
    return _targets_of_section(CONNECTOR_SERVICE, plugins.connector_service) + _targets_of_section(
        AGENT_SERVICE, plugins.agent_service
    )


def _targets_of_section(plugin: str, section: ServicesSection) -> list[ConnectorTarget]:
    caching, limiter = section.web_api.caching, section.web_api.read_rate_limiter
    deployments = {"": section.default_deployment, **dict(sorted(section.deployments.items()))}
    return [
        ConnectorTarget(
            plugin=plugin,
            id=id,
            deployment=deployment,
            supported_types=() if id else section.supported_task_types,
            poll_seconds_max=deployment.resync_interval_seconds or caching.resync_interval_seconds,
            discovery_seconds=section.poll_interval_seconds,
            failures_max=caching.max_system_failures,
            calls_max=caching.workers,
            calls_a_second=limiter.qps,
            burst=limiter.burst,
        )
        for id, deployment in deployments.items()
        if deployment.endpoint
    ]


def routes_of(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return plugin and lower-case service id by lower-case task type."""
    routes: dict[str, tuple[str, str]] = {}
    plugins = settings.plugins
    for plugin, section in ((AGENT_SERVICE, plugins.agent_service), (CONNECTOR_SERVICE, plugins.connector_service)):
        routes |= {type.lower(): (plugin, id.lower()) for type, id in section.routes.items()}
    return routes
