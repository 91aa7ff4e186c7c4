"""Moving a journal from SQLite to PostgreSQL."""
