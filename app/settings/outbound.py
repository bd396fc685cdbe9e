"""Sections about messages to other systems: `notifications`, `externalEvents`, `cloudEvents`.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Literal

from pydantic import Field, SecretStr

from app.settings.values import Section


class Aws(Section):
    """Amazon Web Services."""

    region: str = ""
    """AWS region."""


class Gcp(Section):
    """Google Cloud."""

    project_id: str = ""
    """Id of the Google Cloud project."""


class Publisher(Section):
    """The topic for notifications."""

    topic_name: str = ""
    """Name or ARN of the topic."""


class Processor(Section):
    """The queue from which notifications are sent."""

    queue_name: str = ""
    """Name of the queue."""

    account_id: str = ""
    """AWS account of the queue."""


class EmailServer(Section):
    """The service that sends e-mail."""

    service_name: str = ""
    """Name of the service, such as `sendgrid` or `smtp`."""

    api_key_env_var: str = ""
    """Environment variable that holds the API key."""

    api_key_file_path: str = ""
    """Path of a file that holds the API key."""

    smtp_server: str = ""
    """Host of the SMTP server."""

    smtp_port: str = ""
    """Port of the SMTP server."""

    smtp_skip_tls_verify: bool = False
    """Accept any certificate of the SMTP server."""

    smtp_username: str = ""
    """User at the SMTP server."""

    smtp_password_secret_name: str = ""
    """Name of the secret with the password of that user."""


class Emailer(Section):
    """The form of e-mails."""

    email_server_config: EmailServer = EmailServer()

    subject: str = ""
    """Template of the subject."""

    sender: str = ""
    """Address of the sender."""

    body: str = ""
    """Template of the body, in HTML."""


class Notifications(Section):
    """Notifications of the end of executions."""

    type: str = "local"
    """Kind of service: `local` sends nothing, others are `aws`, `gcp` and `sandbox`."""

    region: str = ""
    """Upstream's older spelling of `aws.region`."""

    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    publisher: Publisher = Publisher()
    processor: Processor = Processor()
    emailer: Emailer = Emailer()

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the queue again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""


class EventsPublisher(Section):
    """The topic for events."""

    topic_name: str = ""
    """Name or ARN of the topic."""

    event_types: tuple[str, ...] = ()
    """Kinds of events that are published: `workflow`, `node`, `task` or `all`."""

    enrich_all_workflow_event_types: bool = False
    """Add the workflow's details to events of every phase."""


class ExternalEvents(Section):
    """Publication of events as protobuf messages."""

    enable: bool = False
    """Publish events."""

    type: str = "local"
    """Kind of service: `local` publishes nothing, others are `aws`, `gcp` and `sandbox`."""

    aws: Aws = Aws()
    gcp: Gcp = Gcp()
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
    """Path of a file that holds the password."""

    handshake: bool = False
    """Send the SASL handshake first."""

    mechanism: str = ""
    """SASL mechanism, such as `PLAIN`."""


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


class Kafka(Section):
    """Kafka."""

    version: str = ""
    """Version of the Kafka protocol."""

    brokers: tuple[str, ...] = ()
    """Addresses of brokers, as `host:port`."""

    sasl_config: Sasl = Sasl()
    tls_config: Tls = Tls()


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
    """Addresses of servers, as `nats://host:port`."""

    user_authentication: NatsUser = NatsUser()
    token_authentication: NatsToken = NatsToken()


class CloudEvents(Section):
    """Publication of events as CloudEvents."""

    enable: bool = False
    """Publish events."""

    type: str = "local"
    """Kind of service: `local` publishes nothing, others are `aws`, `gcp`, `kafka`, `nats` and `sandbox`."""

    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    kafka: Kafka = Kafka()
    nats: Nats = Nats()
    events_publisher: EventsPublisher = EventsPublisher()

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the service again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""

    cloud_event_version: Literal["v1", "v2"] = "v1"
    """Version of the payload."""
