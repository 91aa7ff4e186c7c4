"""Lanes, what keeps a destination back, the configuration that a node has in force, and shared databases.

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
    _due()
    _destination()
    _lane()
    _ledger()
    _node()
    if op.get_bind().dialect.name == "postgresql":
        _storage()


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


def _due() -> None:
    """The claims' whole order into their indexes."""
    for name, lost in (
        ("ix_delivery_suspect", "owners_lost >= 2"),
        ("ix_delivery_waiting", "owners_lost < 2"),
    ):
        where = sa.text(f"state = 'pending' AND owner IS NULL AND {lost}")
        op.drop_index(name, "delivery")
        op.create_index(
            name,
            "delivery",
            ["destination", "due_at", "seq"],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
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


def _ledger() -> None:
    """A slot in the key; SQLite changes no key of a table, so the few rows are copied."""
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("ledger", sa.Column("slot", sa.Integer(), server_default=sa.text("0"), nullable=False))
        op.drop_constraint("ledger_pkey", "ledger")
        op.create_primary_key("ledger_pkey", "ledger", ["source", "destination", "counter", "slot"])
        return
    op.rename_table("ledger", "ledger_0001")
    op.create_table(
        "ledger",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, server_default=sa.text("0"), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", "destination", "counter", "slot"),
    )
    op.execute(
        sa.text(
            "INSERT INTO ledger (source, destination, counter, value, at)"
            " SELECT source, destination, counter, value, at FROM ledger_0001"
        )
    )
    op.drop_table("ledger_0001")


def _node() -> None:
    op.add_column("node", sa.Column("config", sa.Text(), nullable=True))
    op.add_column("node", sa.Column("reload", sa.BigInteger(), nullable=True))
    op.add_column("node", sa.Column("config_error", sa.LargeBinary(), nullable=True))
    op.add_column("node", sa.Column("slot", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("node", sa.Column("tables", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("node", sa.Column("beats", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("node", sa.Column("beat_at", sa.Double(), nullable=True))


def _storage() -> None:
    """Room beside rows that change in place, and a vacuum before the dead ones slow the claims."""
    for table in ("ledger", "node", "destination", "lane", "meta"):
        op.execute(
            sa.text(
                f"ALTER TABLE {table} SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,"
                " autovacuum_vacuum_threshold = 200)"
            )
        )
    op.execute(
        sa.text(
            "ALTER TABLE delivery SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05,"
            " autovacuum_vacuum_cost_delay = 1)"
        )
    )
    for table in ("event", "attempt", "dedup"):
        op.execute(sa.text(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.05)"))
