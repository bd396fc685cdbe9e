"""Run the revisions, one transaction each.

app/database/migrations.py passes a connection in config.attributes["connection"]. The connection holds the lock that
keeps other processes from migrating, and has timeouts for locks and statements.
"""

from alembic import context
from sqlmodel import SQLModel

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
