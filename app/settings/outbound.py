"""Section `notifications`: messages about the end of executions. events_out.py has the sections of events.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Literal

from pydantic import Field

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
    """ARN of the SNS topic, or name of the Pub/Sub topic. E-mails are published there, one for each recipient. Empty:
    this server sends them itself."""


class Processor(Section):
    """The queue from which notifications are sent."""

    queue_name: str = ""
    """Name of the SQS queue, or of the Pub/Sub subscription, whose e-mails this server sends. Empty: none."""

    account_id: str = ""
    """AWS account of the queue; empty means that of the credentials."""


class EmailServer(Section):
    """The service that sends e-mail."""

    service_name: str = ""
    """`smtp` or `sendgrid`. Empty: SES where `notifications.type` is `aws`, otherwise no e-mail is sent."""

    api_key_env_var: str = ""
    """Environment variable that holds the API key of SendGrid."""

    api_key_file_path: str = ""
    """Path of a file that holds the API key of SendGrid. It is read for each e-mail."""

    sendgrid_url: str = "https://api.sendgrid.com"
    """Address of SendGrid; `https://api.eu.sendgrid.com` for subusers in the EU. Not upstream's."""

    smtp_server: str = ""
    """Host of the SMTP server."""

    smtp_port: str = ""
    """Port of the SMTP server; empty means 25, and 465 with `smtpTls: implicit`."""

    smtp_tls: Literal["auto", "required", "implicit", "off"] = "auto"
    """TLS to the SMTP server. `auto`: STARTTLS where the server offers it, implicit TLS on port 465. `required`:
    STARTTLS, or no e-mail. `implicit`: TLS from the first byte. `off`: never. Not upstream's."""

    smtp_null_return_path: bool = False
    """Send with the empty return path, so that nobody receives bounces. Some servers refuse it. Not upstream's."""

    smtp_skip_tls_verify: bool = False
    """Accept any certificate of the SMTP server."""

    smtp_username: str = ""
    """User at the SMTP server."""

    smtp_password_secret_name: str = ""
    """Name of the secret with the password of that user (section `secrets`). It is read for each connection."""


class Emailer(Section):
    """The form of e-mails."""

    email_server_config: EmailServer = EmailServer()

    subject: str = ""
    """Template of the subject; empty means one of this server."""

    sender: str = ""
    """Address of the sender, such as `flyte@example.com` or `Flyte <flyte@example.com>`."""

    body: str = ""
    """Template of the body, in HTML; empty means one of this server. A link to the execution in the console follows
    where the template has no `{{ console_url }}`."""


class Webhook(Section):
    """Recipients that are addresses such as `https://hooks.slack.com/…`. Not upstream's."""

    secret_names: tuple[str, ...] = ()
    """Names of the secrets that sign webhooks (section `secrets`), in the form `whsec_` and base64. Two allow receivers
    to change from one to the other. Without one only Slack and PagerDuty receive webhooks. Not upstream's."""


class Notifications(Section):
    """Notifications of the end of executions (app/background/notifications)."""

    type: str = "local"
    """Kind of service. `aws`: SNS, SQS and SES. `gcp`: Pub/Sub. `local`, `sandbox` and others: none of them. E-mail by
    `emailer.emailServerConfig.serviceName` and webhooks are independent of it."""

    region: str = ""
    """Upstream's older spelling of `aws.region`."""

    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    publisher: Publisher = Publisher()
    processor: Processor = Processor()
    emailer: Emailer = Emailer()
    webhook: Webhook = Webhook()

    recipients_max: int = Field(default=100, ge=1, le=10_000)
    """Largest number of messages about one execution. Further recipients are listed as undeliverable. Not
    upstream's."""

    recipient_messages_per_minute: float = Field(default=30.0, gt=0)
    """Messages a minute to one recipient, of all processes together; further ones wait. Not upstream's."""

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the queue again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""
