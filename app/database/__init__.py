"""The database of the server: tables, connections, statements and migrations, on PostgreSQL and SQLite.

schema           all tables
base             interface: Database, UnitOfWork
connect          choose the driver by settings or URL
statements       SQL by SQLAlchemy Core, compiled once per dialect
postgres         PostgreSQL driver; connection_pool and pipeline have its connections, growth runs ANALYZE
sqlite           SQLite driver; sqlite_file sets permissions
server_lock      lock between servers and commands that need a database for themselves
migrations       run the revisions of alembic/
"""
