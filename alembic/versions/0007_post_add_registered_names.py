"""The names under which versions are registered, each once, kept by the database itself.

Triggers note them, not the services: rows that upstream's server, a loader or an execution of a single task write are
noted too, in the transaction that writes them. Versions are never deleted and never get another name, so there is
nothing to take away. All of this is an addition that upstream ignores; on PostgreSQL the triggers' function runs with
the rights of its owner, for upstream may register as a role that has none on our table.

The triggers come first, then the names of what is there already. On PostgreSQL each statement is a transaction of its
own: CREATE TRIGGER waits until the writers of its table have ended (lock_timeout seconds at most) and whoever writes
later fires it, so the statement that copies the names, which begins after that, sees every version that was written
without. Registrations go on meanwhile. What is interrupted goes on with the next run.
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
        # The key is all that there is: no second copy of it.
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _copy_names(table: str, kind: int) -> None:
    # SQLite takes ON CONFLICT for a part of a join where no WHERE stands before it.
    op.execute(
        f"INSERT INTO registered_names (resource_type, project, domain, name) "
        f"SELECT DISTINCT {kind}, project, domain, name FROM {table} WHERE true ON CONFLICT DO NOTHING"
    )


def _upgrade_sqlite() -> None:
    _create_table()
    for table, kind in _KINDS.items():
        # Not ON CONFLICT: what a statement does at a conflict is, in SQLite, also what its triggers do.
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
    # Named with its schema: whoever registers may search others.
    schema = bind.dialect.identifier_preparer.quote(bind.execute(sa.text("SELECT current_schema()")).scalar_one())
    op.execute(f"""
        CREATE OR REPLACE FUNCTION register_name() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO {schema}.registered_names (resource_type, project, domain, name)
            VALUES (CAST(TG_ARGV[0] AS integer), NEW.project, NEW.domain, NEW.name)
            ON CONFLICT DO NOTHING;
            RETURN NULL;
        END $$""")
    # Whoever may execute it could have it write names of a table of his own. Whoever fires a trigger need not.
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
