"""Which change of the journal's state each process has taken, the time that it goes by, and its wall clock.

Revision ID: 0003

Columns with defaults alone: nodes of the version before go on beside newer ones. They raise no `version`
and write no `change`.
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
