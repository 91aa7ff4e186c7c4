"""Lanes, what keeps a destination back, and the configuration that a node has in force.

Revision ID: 0002

`event.planned` stays, though nobody reads it: SQLite drops a column by writing every row anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them; what was parked is due, and is parked again where it must be."""
    _delivery()
    _destination()
    _lane()
    _node()


def _delivery() -> None:
    op.add_column("delivery", sa.Column("place", sa.BigInteger(), nullable=True))
    op.add_column("delivery", sa.Column("hold", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("delivery", sa.Column("parked_at", sa.Double(), nullable=True))
    op.execute(
        sa.text(
            "UPDATE delivery SET due_at = created_at"
            " WHERE state = 'pending' AND owner IS NULL AND due_at IS NULL"
        )
    )
    op.create_index(
        "ix_delivery_age",
        "delivery",
        ["destination", "age_from"],
        unique=False,
        sqlite_where=sa.text(
            "state = 'pending' AND owner IS NULL"
            " AND (due_at IS NOT NULL OR parked_at IS NOT NULL OR hold IS 0)"
        ),
        postgresql_where=sa.text(
            "state = 'pending' AND owner IS NULL"
            " AND (due_at IS NOT NULL OR parked_at IS NOT NULL OR hold IS false)"
        ),
    )
    op.create_index(
        "ix_delivery_lane",
        "delivery",
        ["destination", "lane", "place"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND lane IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND lane IS NOT NULL"),
    )
    op.create_index(
        "ix_delivery_parked",
        "delivery",
        ["destination"],
        unique=False,
        sqlite_where=sa.text("parked_at IS NOT NULL"),
        postgresql_where=sa.text("parked_at IS NOT NULL"),
    )


def _destination() -> None:
    op.add_column("destination", sa.Column("paused_at", sa.Double(), nullable=True))
    op.add_column("destination", sa.Column("pause_reason", sa.LargeBinary(), nullable=True))
    op.add_column(
        "destination", sa.Column("paused_for", sa.Double(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("destination", sa.Column("opened_at", sa.Double(), nullable=True))
    op.add_column("destination", sa.Column("probe_at", sa.Double(), nullable=True))
    op.add_column("destination", sa.Column("held_until", sa.Double(), nullable=True))


def _lane() -> None:
    op.create_table(
        "lane",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("tail", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("destination", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_lane_held",
        "lane",
        ["destination"],
        unique=False,
        sqlite_where=sa.text("held_by IS NOT NULL"),
        postgresql_where=sa.text("held_by IS NOT NULL"),
    )


def _node() -> None:
    op.add_column("node", sa.Column("config", sa.Text(), nullable=True))
    op.add_column("node", sa.Column("reload", sa.BigInteger(), nullable=True))
    op.add_column("node", sa.Column("config_error", sa.LargeBinary(), nullable=True))
