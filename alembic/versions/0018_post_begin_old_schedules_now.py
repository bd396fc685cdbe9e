"""Let schedules that were activated before any scheduler ran on the database begin now.

They have neither a state nor a snapshot. Without this, all slots since their activation would be caught up, perhaps
those of years. Where a snapshot is stored, a scheduler has run, and slots since then are due.
"""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = "strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now')" if sqlite else "now()"
    op.execute(
        "INSERT INTO schedule_states (created_at, updated_at, project, domain, name, version, resume_from) "
        f"SELECT {now}, {now}, project, domain, name, version, {now} FROM schedulable_entities AS entity "
        "WHERE active AND NOT EXISTS (SELECT 1 FROM schedule_entities_snapshots) AND NOT EXISTS ("
        "SELECT 1 FROM schedule_states AS state WHERE state.project = entity.project "
        "AND state.domain = entity.domain AND state.name = entity.name AND state.version = entity.version)"
    )


def downgrade() -> None:
    """Keep the rows: an older version treats them alike."""
