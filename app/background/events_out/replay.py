"""Send published events again: from the rows that the outbox keeps for `outbox.keptSeconds`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.background.outbox import claims
from app.database.base import Database

# Rows of one transaction: other writers wait no longer than for this.
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Replay:
    """The events to send again.

    Attributes:
        targets: external_events, cloud_events, or both.
        since: The first time at which an event was recorded.
        until: The time before which it was recorded.
        failed_only: Only events that could not be published.
    """

    targets: Sequence[str]
    since: datetime
    until: datetime
    failed_only: bool = False


async def replay(database: Database, chosen: Replay, *, dry_run: bool = False) -> dict[str, int]:
    """Let finished events wait again, in the order in which they were recorded; a running server publishes them.

    Each keeps its id, source and bytes, so receivers can recognise it.

    Returns:
        The number of events by target.
    """
    counts = {}
    for target in chosen.targets:
        counts[target] = 0
        after, rows = 0, PAGE_ROWS
        while rows == PAGE_ROWS:
            async with database.unit_of_work() as unit:
                page = await claims.finished_between(
                    unit, target, since=chosen.since, until=chosen.until, after=after, most=PAGE_ROWS
                )
                rows = len(page)
                for row in page:
                    after = row.id
                    if chosen.failed_only and row.state != claims.FAILED:
                        continue
                    if dry_run or await claims.replay(unit, row.id, datetime.now(UTC)):
                        counts[target] += 1
    return counts
