"""Upstream's sections about what leaves this server: notifications, external events, cloud events.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Literal

from pydantic import Field, SecretStr

from app.settings.values import Section


class Aws(Section):
    region: str = ""


class Gcp(Section):
    project_id: str = ""


class Publisher(Section):
    topic_name: str = ""


class Processor(Section):
    queue_name: str = ""
    account_id: str = ""


class EmailServer(Section):
    service_name: str = ""
    api_key_env_var: str = ""
    api_key_file_path: str = ""
    smtp_server: str = ""
    smtp_port: str = ""
    smtp_skip_tls_verify: bool = False
    smtp_username: str = ""
    smtp_password_secret_name: str = ""


class Emailer(Section):
    email_server_config: EmailServer = EmailServer()
    subject: str = ""
    sender: str = ""
    body: str = ""


class Notifications(Section):
    type: str = "local"
    region: str = ""
    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    publisher: Publisher = Publisher()
    processor: Processor = Processor()
    emailer: Emailer = Emailer()
    reconnect_attempts: int = Field(default=0, ge=0)
    reconnect_delay_seconds: float = Field(default=0, ge=0)


class EventsPublisher(Section):
    topic_name: str = ""
    event_types: tuple[str, ...] = ()
    enrich_all_workflow_event_types: bool = False


class ExternalEvents(Section):
    enable: bool = False
    type: str = "local"
    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    events_publisher: EventsPublisher = EventsPublisher()
    reconnect_attempts: int = Field(default=0, ge=0)
    reconnect_delay_seconds: float = Field(default=0, ge=0)


class Sasl(Section):
    enabled: bool = False
    user: str = ""
    password: SecretStr = SecretStr("")
    password_path: str = ""
    handshake: bool = False
    mechanism: str = ""


class Tls(Section):
    enabled: bool = False
    insecure_skip_verify: bool = False
    cert_path: str = ""
    key_path: str = ""


class Kafka(Section):
    version: str = ""
    brokers: tuple[str, ...] = ()
    sasl_config: Sasl = Sasl()
    tls_config: Tls = Tls()


class NatsUser(Section):
    enabled: bool = False
    user: str = ""
    password: SecretStr = SecretStr("")


class NatsToken(Section):
    enabled: bool = False
    token: SecretStr = SecretStr("")


class Nats(Section):
    servers: tuple[str, ...] = ()
    user_authentication: NatsUser = NatsUser()
    token_authentication: NatsToken = NatsToken()


class CloudEvents(Section):
    enable: bool = False
    type: str = "local"
    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    kafka: Kafka = Kafka()
    nats: Nats = Nats()
    events_publisher: EventsPublisher = EventsPublisher()
    reconnect_attempts: int = Field(default=0, ge=0)
    reconnect_delay_seconds: float = Field(default=0, ge=0)
    cloud_event_version: Literal["v1", "v2"] = "v1"
