"""Add a table with each name under which a version is registered, filled by triggers.

Triggers cover every writer: this server, upstream's server, and loaders, in the transaction of the version itself.
Versions are never deleted or renamed, so names are only inserted. Upstream ignores table and triggers. On PostgreSQL
the trigger function runs with the rights of its owner, because upstream may use a role without rights on our table.

Triggers are created before the names of existing versions are copied. On PostgreSQL each statement is a transaction of
its own. CREATE TRIGGER waits for open writers of its table, at most lock_timeout seconds, and later writers fire the
trigger. The copy starts after that, so it sees every version that was written without the trigger. Registrations
continue meanwhile, and an interrupted run is completed by the next one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_KEY = ("resource_type", "project", "domain", "name")
# Table → core.ResourceType.
_KINDS = {"tasks": 1, "workflows": 2, "launch_plans": 3}


def _create_table() -> None:
    op.create_table(
        "registered_names",
        sa.Column("resource_type", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY[1:]),
        sa.PrimaryKeyConstraint(*_KEY, name="registered_names_pkey"),
        # All columns are in the key; with a rowid SQLite would store them twice.
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _copy_names(table: str, kind: int) -> None:
    # Without WHERE, SQLite parses ON CONFLICT as the condition of a join.
    op.execute(
        f"INSERT INTO registered_names (resource_type, project, domain, name) "
        f"SELECT DISTINCT {kind}, project, domain, name FROM {table} WHERE true ON CONFLICT DO NOTHING"
    )


def _upgrade_sqlite() -> None:
    _create_table()
    for table, kind in _KINDS.items():
        # No ON CONFLICT here: SQLite would replace it by the conflict clause of the statement that fires the trigger.
        op.execute(
            f"CREATE TRIGGER {table}_register_name AFTER INSERT ON {table} FOR EACH ROW BEGIN "
            f"INSERT INTO registered_names (resource_type, project, domain, name) "
            f"SELECT {kind}, NEW.project, NEW.domain, NEW.name WHERE NOT EXISTS (SELECT 1 FROM registered_names "
            f"WHERE resource_type = {kind} AND project = NEW.project AND domain = NEW.domain AND name = NEW.name); "
            f"END"
        )
        _copy_names(table, kind)


def _upgrade_postgresql() -> None:
    bind = op.get_bind()
    _create_table()
    # With its schema: the search_path of the session that registers may be another one.
    schema = bind.dialect.identifier_preparer.quote(bind.execute(sa.text("SELECT current_schema()")).scalar_one())
    op.execute(f"""
        CREATE OR REPLACE FUNCTION register_name() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO {schema}.registered_names (resource_type, project, domain, name)
            VALUES (CAST(TG_ARGV[0] AS integer), NEW.project, NEW.domain, NEW.name)
            ON CONFLICT DO NOTHING;
            RETURN NULL;
        END $$""")
    # A role that may execute the function could use it on a table of its own. Firing a trigger needs no such right.
    op.execute("REVOKE EXECUTE ON FUNCTION register_name() FROM PUBLIC")
    there = "SELECT 1 FROM pg_trigger WHERE tgname = :name AND tgrelid = CAST(:of AS regclass)"
    for table, kind in _KINDS.items():
        name = f"{table}_register_name"
        if bind.execute(sa.text(there), {"name": name, "of": table}).first() is None:
            op.execute(
                f"CREATE TRIGGER {name} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION register_name({kind})"
            )
        _copy_names(table, kind)
    op.execute("ANALYZE registered_names")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _upgrade_sqlite()
        return
    with op.get_context().autocommit_block():
        _upgrade_postgresql()


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table in _KINDS:
        op.execute(f"DROP TRIGGER {table}_register_name" + ("" if sqlite else f" ON {table}"))
    if not sqlite:
        op.execute("DROP FUNCTION register_name()")
    op.drop_table("registered_names")
