"""Run the revisions, one transaction each.

app/database/migrations.py passes a connection in config.attributes["connection"]. The connection holds the lock that
keeps other processes from migrating, and has timeouts for locks and statements.
"""

from alembic import context

from app.database.auth_tables import Base  # With all tables: auth_tables imports schema.

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
