"""Add sessions, grants, clients and roles of authentication.

Upstream and earlier versions of this server ignore these tables. app/database/auth_tables.py describes their columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TABLES: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    # Table: key columns, further text columns (nullable where marked with ?), binary columns, time columns.
    "auth_sessions": (["session_id"], ["subject"], ["data"], ["used_at", "refreshing_until", "valid_until"]),
    "auth_grants": (
        ["grant_id"],
        ["kind", "family", "client_id", "subject?", "user_code?", "status?"],
        ["data"],
        ["used_at", "valid_until"],
    ),
    "auth_clients": (
        ["name"],
        ["kind", "subject", "secret_hash", "scopes", "description?", "created_by?"],
        [],
        ["used_at", "revoked_at", "valid_until"],
    ),
    "auth_roles": (["role", "project", "domain", "member_kind", "member"], ["created_by?"], [], []),
}
# Expired rows are deleted by time, families of grants are revoked together, and a device is found by its user's code.
_INDEXES = (
    ("auth_sessions", "valid_until"),
    ("auth_grants", "valid_until"),
    ("auth_grants", "family"),
    ("auth_grants", "user_code"),
    ("auth_grants", "status"),
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    time: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    for name, (keys, texts, binaries, times) in _TABLES.items():
        row_id = (
            sa.Column("id", sa.Integer(), primary_key=True)
            if sqlite
            else sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)
        )
        op.create_table(
            name,
            row_id,
            *(sa.Column(column, time) for column in ("created_at", "updated_at", "deleted_at")),
            *(sa.Column(column, sa.Text(), nullable=False) for column in keys),
            *(sa.Column(text.rstrip("?"), sa.Text(), nullable=text.endswith("?")) for text in texts),
            *(sa.Column(column, sa.LargeBinary(), nullable=False) for column in binaries),
            *(sa.Column(column, time) for column in times),
            *([] if sqlite else [sa.PrimaryKeyConstraint(*keys, name=f"{name}_pkey")]),
        )
        if sqlite:
            op.create_index(f"{name}_pkey", name, keys, unique=True)
    for name, column in _INDEXES:
        op.create_index(f"{name}_{column}_idx", name, [column])


def downgrade() -> None:
    for name in _TABLES:
        op.drop_table(name)
