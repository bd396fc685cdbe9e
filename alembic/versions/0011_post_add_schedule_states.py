"""Add the states of schedules, and an index by which a scheduler finds the schedules that changed.

Upstream and earlier versions of this server ignore the table. app/database/schedule_tables.py describes its columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_KEY = ["project", "domain", "name", "version"]


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    row_id = (
        sa.Column("id", sa.Integer(), primary_key=True)
        if sqlite
        else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
    )
    op.create_table(
        "schedule_states",
        row_id,
        *(sa.Column(name, time) for name in ("created_at", "updated_at", "deleted_at")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        *(sa.Column(name, time) for name in ("last_slot", "problem_since", "resume_from", "paused_at")),
        *(
            sa.Column(name, sa.Text())
            for name in (
                "last_execution",
                "last_outcome",
                "problem_message",
                "activated_by",
                "paused_reason",
                "paused_by",
            )
        ),
        *(
            sa.Column(name, sa.Integer(), nullable=False, server_default="0")
            for name in ("launched", "missed", "skipped", "failed", "failures_in_row")
        ),
        sa.Column("problem_code", sa.Integer()),
        sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()),
        *([] if sqlite else [sa.PrimaryKeyConstraint(*_KEY, name="schedule_states_pkey")]),
    )
    if sqlite:
        op.create_index("schedule_states_pkey", "schedule_states", _KEY, unique=True)
    op.create_index("schedulable_entities_updated_at_idx", "schedulable_entities", ["updated_at"])


def downgrade() -> None:
    op.drop_index("schedulable_entities_updated_at_idx", table_name="schedulable_entities")
    op.drop_table("schedule_states")
