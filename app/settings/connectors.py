"""Sections `plugins.connector-service`, `plugins.agent-service` and `engine.local.connectors`: tasks run by services.

Source: flyteplugins/go/tasks/plugins/webapi/connector/config.go and agent/config.go at v1.16.8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from app.settings.values import Requirements, Seconds, Section, merged

# Upstream's twin of the section, with the older names of some keys.
CONNECTOR_SERVICE, AGENT_SERVICE = "connector-service", "agent-service"
_K8S = "k8s://"
_SECRET_PARTS_MAX = 3
_ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin":{}}]}'


class Deployment(Section):
    """A service that runs tasks: a gRPC server with flytekit's connectors or agents."""

    endpoint: str = ""
    """Target of gRPC: `host:port` or `dns:///host:port`."""

    insecure: bool | None = None
    """Connect without TLS. Not set: without TLS to an address of this machine, with TLS to all others."""

    timeouts: dict[str, Seconds] = {}
    """Deadlines by RPC (CreateTask, GetTask, DeleteTask, ExecuteTaskSync, ListConnectors or ListAgents), as
    durations. Names are compared without case."""

    default_timeout_seconds: Seconds = 10.0
    """Deadline of every other RPC, as a duration; 0 means 10 seconds."""

    default_service_config: str = ""
    """Service configuration of gRPC, as JSON."""

    ca_certificate_file: str = ""
    """File with the certificates of authorities (PEM) for TLS. Empty: those of the system. Not upstream's."""

    certificate_file: str = ""
    """File with the certificate (PEM) by which this server identifies itself. Not upstream's."""

    key_file: str = ""
    """File with the key of that certificate. Not upstream's."""

    token_file: str = ""
    """File with a token that every call carries as `authorization: Bearer`. It is read again when it changes. Needs TLS
    or an address of this machine. Not upstream's."""

    resync_interval_seconds: Seconds = 0.0
    """Longest time between two polls of a task of this service, as a duration; 0 means `webApi.caching.resyncInterval`
    of the section. Not upstream's."""

    @field_validator("endpoint")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if value.startswith(_K8S):
            raise ValueError("k8s:// names need FlytePropeller; allowed is host:port or dns:///host:port")
        return value

    @field_validator("default_service_config")
    @classmethod
    def _is_json(cls, value: str) -> str:
        if value and not isinstance(_json(value), dict):
            raise ValueError("allowed is a JSON object, such as " + _ROUND_ROBIN)
        return value

    @model_validator(mode="after")
    def _whole_certificate(self) -> Deployment:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificateFile and keyFile belong together")
        return self

    def timeout_seconds(self, *rpcs: str) -> float:
        """Return the deadline of an RPC in seconds.

        Args:
            *rpcs: The names of the RPC, the preferred one first.
        """
        given = {name.lower(): value for name, value in self.timeouts.items()}
        named = next((given[name.lower()] for name in rpcs if given.get(name.lower())), 0.0)
        return named or self.default_timeout_seconds or 10.0


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class Caching(Section):
    """The polling of tasks."""

    size: int = Field(default=500_000, ge=1)
    """Tasks in upstream's cache."""

    resync_interval_seconds: Annotated[Seconds, Field(gt=0)] = 30.0
    """Longest time between two polls of a task, as a duration. The first polls follow each other faster."""

    workers: int = Field(default=50, ge=1, le=10_000)
    """GetTask calls at once for each service. Upstream's default is 10."""

    max_system_failures: int = Field(default=5, ge=0)
    """Failed polls in a row that a task survives, where their error shows that a repetition does not help."""


class RateLimiter(Section):
    """A limit on calls."""

    qps: float = Field(default=10.0, gt=0)
    """Calls a second."""

    burst: int = Field(default=100, ge=1)
    """Calls that may exceed the rate at once."""


class WebApi(Section):
    """The calls of tasks."""

    caching: Caching = Caching()

    read_rate_limiter: RateLimiter = RateLimiter()
    """GetTask calls of each service."""

    write_rate_limiter: RateLimiter = RateLimiter()
    """Upstream checks and does not use it."""

    resource_quotas: dict[str, int] = {"default": 1000}
    """Quotas of upstream's resource manager."""

    resource_constraints: dict[str, Any] = {}
    """Quotas of projects and namespaces of upstream's resource manager."""


def _default_deployment(timeout_seconds: float) -> Deployment:
    return Deployment(insecure=True, default_timeout_seconds=timeout_seconds, default_service_config=_ROUND_ROBIN)


Routes = Annotated[dict[str, str], BeforeValidator(merged)]


class ServicesSection(Section):
    """The common parts of the two sections; their fields for services and routes have names of their own."""

    _default: ClassVar[str]
    _others: ClassVar[str]
    _routes: ClassVar[str]

    supported_task_types: tuple[str, ...] = ()
    """Types that go to the default service although no service announces them."""

    poll_interval_seconds: Annotated[Seconds, Field(gt=0)] = 10.0
    """Time between two questions for the types that a service runs, as a duration."""

    web_api: WebApi = WebApi()

    @property
    def default_deployment(self) -> Deployment:
        """Return the default service."""
        found: Deployment = getattr(self, self._default)
        return found

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """Return the other services by id."""
        found: Mapping[str, Deployment] = getattr(self, self._others)
        return found

    @property
    def routes(self) -> Mapping[str, str]:
        """Return the ids of services by task type."""
        found: Mapping[str, str] = getattr(self, self._routes)
        return found


class ConnectorService(ServicesSection):
    """Services that run tasks (docs/connectors.md)."""

    _default: ClassVar[str] = "default_connector"
    _others: ClassVar[str] = "connectors"
    _routes: ClassVar[str] = "connector_for_task_types"

    default_connector: Deployment = _default_deployment(10.0)
    """The service for types without a better route; used when its endpoint is set."""

    connectors: dict[str, Deployment] = {}
    """Services by id."""

    connector_for_task_types: Routes = {}
    """Id of a service by task type, compared without case; `flytekit` is the service that this server starts itself.
    Such a route precedes what services announce."""

    supported_task_types: tuple[str, ...] = ("task_type_3", "task_type_4")
    """Types that go to the default service although no service announces them."""


class AgentService(ServicesSection):
    """The same as `connector-service`, which precedes it, with upstream's older names."""

    _default: ClassVar[str] = "default_agent"
    _others: ClassVar[str] = "agents"
    _routes: ClassVar[str] = "agent_for_task_types"

    default_agent: Deployment = _default_deployment(10.0)
    """The service for types without a better route; used when its endpoint is set."""

    agents: dict[str, Deployment] = {}
    """Services by id."""

    agent_for_task_types: Routes = {}
    """Id of a service by task type."""

    supported_task_types: tuple[str, ...] = ("task_type_1", "task_type_2")
    """Types that go to the default service although no service announces them."""


class LocalConnectors(Section):
    """How the local engine runs tasks by services, and flytekit's own service of connectors, which it starts."""

    service: Literal["auto", "off"] = "auto"
    """`auto` starts flytekit's service of connectors in the environment of tasks when a task needs it. `off` never
    does. Sensors run as processes, unless connectorForTaskTypes sends `sensor` to `flytekit`."""

    service_modules: tuple[str, ...] = ()
    """Python modules with further connectors that this service imports."""

    service_environment: str = ""
    """Path of the virtual environment in which this service runs. Empty: that of `serviceRequirements`, or the one of
    tasks."""

    service_requirements: Requirements = ()
    """Packages of an environment of its own for this service, in pip's form; flytekit[connector] is added. Empty: the
    environment of tasks."""

    service_secrets: tuple[str, ...] = ()
    """Secrets that this service gets as variables, each as [GROUP/]KEY or GROUP/VERSION/KEY, from the same places as
    those of tasks. Everybody who may register tasks with connectors can read them."""

    service_start_seconds: float = Field(default=60.0, gt=0)
    """Time in which the service must reply after its start, in seconds."""

    service_idle_seconds: float = Field(default=600.0, gt=0)
    """Time without a task after which the service is stopped, in seconds."""

    service_poll_seconds_max: float = Field(default=5.0, gt=0)
    """Longest time between two polls of a task of the service, in seconds."""

    first_poll_seconds: float = Field(default=1.0, gt=0)
    """Time before the second poll of a task, in seconds. It doubles up to the longest time, and begins anew when the
    phase changes."""

    wait_seconds_max: float = Field(default=300.0, ge=0)
    """Time that a task waits for a service which does not reply before it fails, in seconds. A task that has begun
    there waits as long as its own timeout allows."""

    delete_seconds_max: float = Field(default=60.0, ge=0)
    """Time for which DeleteTask is repeated at an abort or a timeout, in seconds."""

    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    """Largest reply of a service, in bytes."""

    array_tasks_max: int = Field(default=1000, ge=1)
    """Indices of one map that a service runs at once, unless the map itself sets fewer."""

    @field_validator("service_secrets")
    @classmethod
    def _known_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parts = name.split("/")
            if len(parts) > _SECRET_PARTS_MAX or any(part in ("", ".", "..") or "\0" in part for part in parts):
                raise ValueError(f"{name!r} is no secret; allowed is [GROUP/]KEY or GROUP/VERSION/KEY")
        return value
