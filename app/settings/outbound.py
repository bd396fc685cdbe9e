"""Section `notifications`: messages about the end of executions. events_out.py has the sections of events.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

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
