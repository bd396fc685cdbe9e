"""Section `scheduler`: the firing of scheduled launch plans.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Literal

from pydantic import Field

from app.settings.values import Port, Seconds, Section


class AwsScheduler(Section):
    """CloudWatch Events."""

    region: str = ""
    """AWS region."""

    schedule_role: str = ""
    """ARN of the role that sends events."""

    target_name: str = ""
    """ARN of the queue that receives events."""

    schedule_name_prefix: str = ""
    """Prefix of the names of rules."""


class EventScheduler(Section):
    """The service that stores schedules."""

    scheme: str = "local"
    """`local`: the database holds the schedules. `aws`: CloudWatch Events does."""

    region: str = ""
    """AWS region; upstream's older spelling of `aws.region`."""

    schedule_role: str = ""
    """Upstream's older spelling of `aws.scheduleRole`."""

    target_name: str = ""
    """Upstream's older spelling of `aws.targetName`."""

    schedule_name_prefix: str = ""
    """Upstream's older spelling of `aws.scheduleNamePrefix`."""

    aws: AwsScheduler = AwsScheduler()

    local: dict[str, str] = {}
    """Upstream reads no key of this table."""


class AdminRateLimit(Section):
    """Rate limit of the launches by the scheduler."""

    tps: float = 100.0
    """Launches a second."""

    burst: int = 10
    """Launches that may exceed the rate at once."""


class LocalWorkflowExecutor(Section):
    """The scheduler that reads the database."""

    admin_rate_limit: AdminRateLimit = AdminRateLimit()

    use_utc_tz: bool = False
    """Read cron expressions in UTC, not in the machine's time zone."""


class AwsWorkflowExecutor(Section):
    """The reader of the queue of CloudWatch Events."""

    region: str = ""
    """AWS region."""

    schedule_queue_name: str = ""
    """Name of the queue."""

    account_id: str = ""
    """AWS account of the queue."""


class WorkflowExecutor(Section):
    """The launcher of scheduled executions."""

    scheme: str = "local"
    """`local`: the scheduler that reads the database. `aws`: the reader of the queue."""

    region: str = ""
    """Upstream's older spelling of `aws.region`."""

    schedule_queue_name: str = ""
    """Upstream's older spelling of `aws.scheduleQueueName`."""

    account_id: str = ""
    """Upstream's older spelling of `aws.accountId`."""

    aws: AwsWorkflowExecutor = AwsWorkflowExecutor()
    local: LocalWorkflowExecutor = LocalWorkflowExecutor()


class Scheduler(Section):
    """The scheduler (app/background/scheduler.py)."""

    enabled: bool = True
    """Fire schedules in `flyteadmin serve`. Of all processes on a database one does. Not upstream's."""

    launches_max: int = Field(default=16, ge=1, le=1000)
    """Largest number of launches at the same time. Not upstream's."""

    catch_up_rate: float = Field(default=50.0, gt=0)
    """Launches a second of slots that passed while no scheduler ran. Slots that are due now come first. Not
    upstream's."""

    catch_up: Literal["all", "last", "none"] = "all"
    """Which of these slots are launched where a launch plan does not choose by its annotation
    `schedule.flyte.org/catchup`: all, the newest of each schedule, or none. Not upstream's."""

    strict: bool = False
    """Refuse the registration of a launch plan whose annotations `schedule.flyte.org/…` have unknown names or values.
    Without it they count as absent and are shown with the schedule. Not upstream's."""

    catch_up_age_seconds: Seconds = 0.0
    """Age above which these slots are dropped, as a duration; 0 means never. Not upstream's."""

    profiler_port: Port = 10254
    """Port of the scheduler's metrics."""

    event_scheduler: EventScheduler = EventScheduler()
    workflow_executor: WorkflowExecutor = WorkflowExecutor()

    reconnect_attempts: int = Field(default=0, ge=0)
    """Number of attempts to connect to the queue again."""

    reconnect_delay_seconds: float = Field(default=0, ge=0)
    """Time between two such attempts, in seconds."""
