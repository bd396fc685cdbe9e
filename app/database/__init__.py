"""The database: schema, migrations, units of work, and the drivers for SQLite and PostgreSQL."""
