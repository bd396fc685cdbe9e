"""Sections `externalEvents` and `cloudEvents`: events of executions, nodes and tasks that are sent to other systems.

docs/events.md describes the messages.
Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Literal

from pydantic import Field, SecretStr

from app.settings.values import Seconds, Section


class EventsAws(Section):
    """Amazon Web Services."""

    region: str = ""
    """AWS region; that of the environment where it is empty."""


class EventsGcp(Section):
    """Google Cloud."""

    project_id: str = ""
    """Id of the Google Cloud project."""


class EventsPublisher(Section):
    """The topic for events."""

    topic_name: str = ""
    """Topic: its ARN on AWS, its name on Google Cloud and Kafka, the subject on NATS. HTTP has none."""

    event_types: tuple[str, ...] = ()
    """Kinds of events that are published: `workflow`, `node`, `task`, or `all` (`*`). Version v2 of `cloudEvents`
    publishes all kinds."""

    enrich_all_workflow_event_types: bool = False
    """Add the workflow's details to events of every phase, not only of SUCCEEDED. Version v2 of `cloudEvents` only."""


class ExternalEvents(Section):
    """Publication of events as protobuf messages (app/background/events_out)."""

    enable: bool = False
    """Publish events."""

    type: str = "local"
    """Kind of service: `aws` (SNS) or `gcp` (Pub/Sub). `local` publishes nothing. Any other value is refused."""

    aws: EventsAws = EventsAws()
    gcp: EventsGcp = EventsGcp()
    events_publisher: EventsPublisher = EventsPublisher()

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the topic again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""


class Sasl(Section):
    """SASL authentication at Kafka."""

    enabled: bool = False
    """Authenticate by SASL."""

    user: str = ""
    """Name of the user."""

    password: SecretStr = SecretStr("")
    """Password of the user. Shown masked."""

    password_path: str = ""
    """Path of a file that holds the password. It takes precedence over `password`."""

    handshake: bool = False
    """Send the SASL handshake first."""

    mechanism: str = ""
    """SASL mechanism, such as `SCRAM-SHA-512`; `PLAIN` where it is empty."""


class Tls(Section):
    """TLS to Kafka."""

    enabled: bool = False
    """Connect by TLS."""

    insecure_skip_verify: bool = False
    """Accept any certificate."""

    cert_path: str = ""
    """Path of the client's certificate."""

    key_path: str = ""
    """Path of the client's private key."""

    ca_path: str = ""
    """Path of a file with the authorities to trust; those of the system where it is empty. Not upstream's."""


class Kafka(Section):
    """Kafka."""

    version: str = ""
    """Version of the Kafka protocol."""

    brokers: tuple[str, ...] = ()
    """Addresses of brokers, as `host:port`."""

    sasl_config: Sasl = Sasl()
    tls_config: Tls = Tls()

    key_by: Literal["event", "execution"] = "event"
    """Key of messages: the id of the event, as upstream, or project/domain/name of the execution. With `execution` all
    events of an execution lie in one partition, so consumers read them in order. Not upstream's."""


class NatsUser(Section):
    """Authentication at NATS by password."""

    enabled: bool = False
    """Authenticate by user and password."""

    user: str = ""
    """Name of the user."""

    password: SecretStr = SecretStr("")
    """Password of the user. Shown masked."""


class NatsToken(Section):
    """Authentication at NATS by token."""

    enabled: bool = False
    """Authenticate by token."""

    token: SecretStr = SecretStr("")
    """The token. Shown masked."""


class Nats(Section):
    """NATS."""

    servers: tuple[str, ...] = ()
    """Addresses of servers, as `nats://host:port` or `tls://host:port`."""

    user_authentication: NatsUser = NatsUser()
    token_authentication: NatsToken = NatsToken()

    jet_stream: bool = False
    """Publish to JetStream: an event counts as delivered when a stream has stored it. Without it, when a server has
    received it, whether or not anybody subscribed. Not upstream's."""


class Http(Section):
    """An HTTP receiver of CloudEvents. Not upstream's."""

    url: str = ""
    """Address that receives each event by POST, `https://` or `http://`."""

    mode: Literal["binary", "structured"] = "binary"
    """Form of events: attributes as headers `ce-…` and data as body, or all in one JSON document. Not upstream's."""

    secrets: tuple[SecretStr, ...] = ()
    """Secrets that sign each request as in the Standard Webhooks specification, in the form `whsec_` and base64. Two
    allow the receiver to change from one to the other. Shown masked. Not upstream's."""

    secret_path: str = ""
    """Path of a file with such secrets, one a line, that is read before each request. Not upstream's."""

    token: SecretStr = SecretStr("")
    """Bearer token that is sent with each request, none where it is empty. Shown masked. Not upstream's."""

    timeout_seconds: Seconds = 10.0
    """Time for the whole reply to a request, as a duration. Not upstream's."""


class CloudEvents(Section):
    """Publication of events as CloudEvents (app/background/events_out)."""

    enable: bool = False
    """Publish events."""

    type: str = "local"
    """Kind of service: `aws` (SNS), `gcp` (Pub/Sub), `kafka`, `nats`, or `http`, which is not upstream's. `local` and
    `sandbox` publish nothing. Any other value is refused. Case does not matter."""

    aws: EventsAws = EventsAws()
    gcp: EventsGcp = EventsGcp()
    kafka: Kafka = Kafka()
    nats: Nats = Nats()
    http: Http = Http()
    events_publisher: EventsPublisher = EventsPublisher()

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the service again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""

    cloud_event_version: Literal["v1", "v2"] = "v1"
    """Version of the payload."""
