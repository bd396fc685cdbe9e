"""Section `outbox`: messages to other systems that wait in the database. Not upstream's."""

from pydantic import Field

from app.settings.values import Seconds, Section


class Outbox(Section):
    """The outbox (app/background/outbox): notifications and published events until they are delivered."""

    kept_seconds: Seconds = 7 * 86400.0
    """Time for which delivered and undeliverable messages are kept in the database, as a duration. Lists show them,
    and `flyteadmin events replay` sends them again. Not upstream's."""

    undelivered_seconds: Seconds = 3 * 86400.0
    """Age at which a message that no receiver took counts as undeliverable, as a duration. Not upstream's."""

    undelivered_max: int = Field(default=1_000_000, ge=1)
    """Largest number of messages that wait for one kind of receiver. The oldest ones above it are deleted. Not
    upstream's."""

    deliveries_max: int = Field(default=16, ge=1, le=1000)
    """Largest number of deliveries at the same time, for each kind of receiver and process. Not upstream's."""

    allowed_networks: tuple[str, ...] = ()
    """Private networks whose addresses webhooks and `cloudEvents.http` may connect to, such as `10.1.0.0/16` or
    `127.0.0.1`. Others than public addresses are refused. Not upstream's."""
