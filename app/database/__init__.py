"""The database: SQLite with one writer connection and query-only readers, one transaction per request, Alembic at start."""
