"""Which change of the journal's state each process has taken, its clocks, and what waits for a changed order.

Revision ID: 0003

Columns with defaults alone: nodes of the version before go on beside newer ones. They raise no `version`
and write no `change`. On PostgreSQL `postgres_indexes` makes the index, outside this transaction.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add them; nothing that is there changes."""
    op.add_column(
        "destination", sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("destination", sa.Column("resumed_at", sa.Double(), nullable=True))
    op.add_column("node", sa.Column("change", sa.BigInteger(), nullable=True))
    op.add_column("node", sa.Column("clock", sa.Double(), nullable=True))
    op.add_column("node", sa.Column("wall_ahead", sa.Double(), nullable=True))
    op.add_column("delivery", sa.Column("behind_since", sa.Double(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(
            "ix_delivery_behind",
            "delivery",
            ["destination", "seq"],
            unique=False,
            sqlite_where=sa.text("behind_since IS NOT NULL"),
        )
