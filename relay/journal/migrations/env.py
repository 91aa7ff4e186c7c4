"""Runs the steps on the connection, and in the transaction, of whoever asked."""

from __future__ import annotations

from alembic import context

from relay.journal.tables.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
