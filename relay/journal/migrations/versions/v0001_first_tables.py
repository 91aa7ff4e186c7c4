"""The first tables.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    _attempt()
    _dedup()
    _delivery()
    _destination()
    _event()
    _ledger()
    _meta()
    _node()


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("note", sa.LargeBinary(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
        sqlite_with_rowid=False,
    )


def _dedup() -> None:
    op.create_table(
        "dedup",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_dedup_expires", "dedup", ["expires_at"], unique=False)


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("owned_at", sa.Double(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("owners_lost", sa.Integer(), nullable=False),
        sa.Column("lane", sa.LargeBinary(), nullable=True),
        sa.Column("transform", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("age_from", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("rendered", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_delivery_dead",
        "delivery",
        ["destination", "finished_at"],
        unique=False,
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_delivery_done",
        "delivery",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("state = 'delivered' OR state = 'cancelled'"),
        postgresql_where=sa.text("state = 'delivered' OR state = 'cancelled'"),
    )
    op.create_index("ix_delivery_event", "delivery", ["event_id"], unique=False)
    op.create_index("ix_delivery_id", "delivery", ["id"], unique=True)
    op.create_index(
        "ix_delivery_owned",
        "delivery",
        ["owner", "destination"],
        unique=False,
        sqlite_where=sa.text("owner IS NOT NULL"),
        postgresql_where=sa.text("owner IS NOT NULL"),
    )
    op.create_index(
        "ix_delivery_suspect",
        "delivery",
        ["destination", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND owner IS NULL AND owners_lost >= 2"),
        postgresql_where=sa.text("state = 'pending' AND owner IS NULL AND owners_lost >= 2"),
    )
    op.create_index(
        "ix_delivery_waiting",
        "delivery",
        ["destination", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND owner IS NULL AND owners_lost < 2"),
        postgresql_where=sa.text("state = 'pending' AND owner IS NULL AND owners_lost < 2"),
    )


def _destination() -> None:
    op.create_table(
        "destination",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_error", sa.LargeBinary(), nullable=True),
        sa.Column("last_error_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.LargeBinary(), nullable=True),
        sa.Column("provider_id", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("method", sa.LargeBinary(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_event_filtered",
        "event",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("state = 'filtered'"),
        postgresql_where=sa.text("state = 'filtered'"),
    )
    op.create_index("ix_event_id", "event", ["id"], unique=True)
    op.create_index(
        "ix_event_provider_id",
        "event",
        ["provider_id"],
        unique=False,
        postgresql_using="hash",  # a B-tree refuses long ones, and senders choose them
        sqlite_where=sa.text("provider_id IS NOT NULL"),
        postgresql_where=sa.text("provider_id IS NOT NULL"),
    )
    op.create_index("ix_event_source", "event", ["source", "state"], unique=False)


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", "destination", "counter"),
    )


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
