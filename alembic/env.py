"""Runs the revisions: one transaction each, one process at a time, never waiting long for a lock.

app/database/migrations.py hands over a connection in config.attributes["connection"] that holds the advisory lock.
"""

from alembic import context
from sqlmodel import SQLModel

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
