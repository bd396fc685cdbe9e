"""Section `datacatalog`: the service DataCatalog, by which FlytePropeller caches outputs of tasks."""

from pydantic import Field

from app.settings.values import Seconds, Section


class DataCatalog(Section):
    """The catalog of cached outputs, as clients of DataCatalog use it."""

    heartbeat_grace_period_multiplier: int = Field(default=3, ge=1, le=1000)
    """Number of heartbeats without an extension after which a reservation of a cached task expires."""

    max_reservation_heartbeat_seconds: Seconds = 10.0
    """Longest heartbeat of a reservation, as a duration. A longer one of a client is shortened to it."""

    page_rows_max: int = Field(default=100, ge=1, le=10_000)
    """Rows of a page of ListDatasets and ListArtifacts, which reads an object for each artifact. Not upstream's."""

    artifact_tags_max: int = Field(default=100, ge=1)
    """Tags of one artifact. Not upstream's."""

    key_bytes_max: int = Field(default=2000, ge=100, le=2400)
    """Largest size of a dataset's identifier together with a tag or an artifact's id, in bytes. The indexes of
    PostgreSQL hold no more than 2,700. Not upstream's."""
