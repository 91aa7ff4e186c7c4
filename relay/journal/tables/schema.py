"""The tables of the journal, one definition for every engine.

What comes from the wire is stored as bytes: no engine then has an opinion about NUL, lone
surrogates or invalid UTF-8 in it.
"""

from __future__ import annotations

import sqlalchemy as sa

from relay.model import SUSPECT_AFTER

VERSION = 3
"""The version of the tables that this program writes."""

OLDEST_USABLE = 2
"""The oldest program version that may use a journal of `VERSION`."""

ANSWERS_SINCE = 3
"""The first version of the tables whose program writes which change it has taken."""

REVISION = "0003"
"""The alembic revision that belongs to `VERSION`."""

metadata = sa.MetaData()

_Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Partial indexes are used only where the query repeats their condition as literals.
# PostgreSQL's `where` stands in the migration alone: here it would load that dialect at every start,
# 21 ms and 2 MB.
PENDING: sa.ColumnClause[str] = sa.literal_column("'pending'")
DEAD: sa.ColumnClause[str] = sa.literal_column("'dead'")
DELIVERED: sa.ColumnClause[str] = sa.literal_column("'delivered'")
CANCELLED: sa.ColumnClause[str] = sa.literal_column("'cancelled'")
FILTERED: sa.ColumnClause[str] = sa.literal_column("'filtered'")
SUSPECT: sa.ColumnClause[int] = sa.literal_column(str(SUSPECT_AFTER))

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("type", sa.LargeBinary),
    sa.Column("provider_id", sa.LargeBinary),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Column("method", sa.LargeBinary, nullable=False),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("query", sa.LargeBinary, nullable=False),
    sa.Column("remote", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("planned", sa.Integer, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    # A purge may take the newest rows; their numbers must not come again, the mark remembers them.
    sqlite_autoincrement=True,
)
sa.Index("ix_event_id", event.c.id, unique=True)
sa.Index("ix_event_source", event.c.source, event.c.state)
_has_provider_id = event.c.provider_id.is_not(None)
sa.Index(
    "ix_event_provider_id",
    event.c.provider_id,
    sqlite_where=_has_provider_id,
)
_is_filtered = event.c.state == FILTERED
sa.Index("ix_event_filtered", event.c.received_at, sqlite_where=_is_filtered)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("finished", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Double),
    sa.Column("owner", sa.Text),
    sa.Column("owned_at", sa.Double),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("owners_lost", sa.Integer, nullable=False),
    sa.Column("lane", sa.LargeBinary),
    sa.Column("transform", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.LargeBinary),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("age_from", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("rendered", sa.LargeBinary),
    sa.Column("place", sa.BigInteger),
    sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()),
    # Since when it lacks something of the configuration, and therefore has no due time.
    sa.Column("parked_at", sa.Double),
    # Since when it waits for what was pending when the order of its route changed. One that would be due
    # is parked as well.
    sa.Column("behind_since", sa.Double),
    sqlite_autoincrement=True,
)
sa.Index("ix_delivery_id", delivery.c.id, unique=True)
sa.Index("ix_delivery_event", delivery.c.event_id)
is_free = sa.and_(delivery.c.state == PENDING, delivery.c.owner.is_(None))
# Two indexes without a row in common: the planner cannot take the long one to look for a suspect.
# In the claims' whole order: the end of a pause makes a whole backlog due at one moment, which
# PostgreSQL would else sort at every claim.
is_waiting = sa.and_(is_free, delivery.c.owners_lost < SUSPECT)
sa.Index(
    "ix_delivery_waiting",
    delivery.c.destination,
    delivery.c.due_at,
    delivery.c.seq,
    sqlite_where=is_waiting,
)
is_suspect = sa.and_(is_free, delivery.c.owners_lost >= SUSPECT)
sa.Index(
    "ix_delivery_suspect",
    delivery.c.destination,
    delivery.c.due_at,
    delivery.c.seq,
    sqlite_where=is_suspect,
)
# Behind the head of a lane that holds, nothing expires: each must wait for its turn.
may_expire = sa.and_(
    is_free,
    sa.or_(
        delivery.c.due_at.is_not(None), delivery.c.parked_at.is_not(None), delivery.c.hold.is_(sa.false())
    ),
)
sa.Index("ix_delivery_age", delivery.c.destination, delivery.c.age_from, sqlite_where=may_expire)
is_parked = delivery.c.parked_at.is_not(None)
sa.Index("ix_delivery_parked", delivery.c.destination, sqlite_where=is_parked)
is_behind = delivery.c.behind_since.is_not(None)
sa.Index("ix_delivery_behind", delivery.c.destination, delivery.c.seq, sqlite_where=is_behind)
in_lane = sa.and_(delivery.c.state == PENDING, delivery.c.lane.is_not(None))
sa.Index(
    "ix_delivery_lane",
    delivery.c.destination,
    delivery.c.lane,
    delivery.c.place,
    sqlite_where=in_lane,
)
is_owned = delivery.c.owner.is_not(None)
sa.Index(
    "ix_delivery_owned",
    delivery.c.owner,
    delivery.c.destination,
    sqlite_where=is_owned,
)
_is_dead = delivery.c.state == DEAD
sa.Index(
    "ix_delivery_dead",
    delivery.c.destination,
    delivery.c.finished_at,
    sqlite_where=_is_dead,
)
is_done = sa.or_(delivery.c.state == DELIVERED, delivery.c.state == CANCELLED)
sa.Index("ix_delivery_done", delivery.c.finished_at, sqlite_where=is_done)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("delivery_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("duration", sa.Double, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.LargeBinary),
    sa.Column("note", sa.LargeBinary),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

dedup = sa.Table(
    "dedup",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_dedup_expires", dedup.c.expires_at)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("destination", sa.Text, primary_key=True),  # "" where the counter is of the source alone
    sa.Column("counter", sa.Text, primary_key=True),
    # Every node that shares a database counts in rows of its own: else a commit waits for the other's.
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False, server_default=sa.text("0")),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

destination = sa.Table(
    "destination",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_error", sa.LargeBinary),
    sa.Column("last_error_at", sa.Double),
    sa.Column("paused_at", sa.Double),
    sa.Column("pause_reason", sa.LargeBinary),
    sa.Column("paused_for", sa.Double, nullable=False, server_default=sa.text("0")),
    sa.Column("opened_at", sa.Double),
    sa.Column("probe_at", sa.Double),
    sa.Column("held_until", sa.Double),
    # Raised by every change of what keeps it back, so that an old read never passes for a newer one.
    sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # What attempts asked for before an operator let it go on is over.
    sa.Column("resumed_at", sa.Double),
)

# A lane has a row while something stands in it; the row is its lock. `tail` is the last place that
# was given, `head` that of the one whose turn it is; it is dead, and holds the lane, where `held_by`
# names it.
lane = sa.Table(
    "lane",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("tail", sa.BigInteger, nullable=False),
    sa.Column("head", sa.BigInteger, nullable=False),
    sa.Column("held_by", sa.Text),
    sqlite_with_rowid=False,
    info={"since": 2},  # the version that brought it
)
is_held = lane.c.held_by.is_not(None)
sa.Index("ix_lane_held", lane.c.destination, sqlite_where=is_held)

node = sa.Table(
    "node",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("config", sa.Text),
    sa.Column("reload", sa.BigInteger),
    sa.Column("config_error", sa.LargeBinary),
    sa.Column("slot", sa.Integer, nullable=False, server_default=sa.text("0")),
    # The version of the tables that its program knows; the first program wrote none.
    sa.Column("tables", sa.Integer, nullable=False, server_default=sa.text("1")),
    # On a shared database: how often it has shown that it lives, and when last by the database's clock.
    sa.Column("beats", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("beat_at", sa.Double),
    # The last change (`meta`) that it has taken; none before it has looked, and it begins nothing before.
    sa.Column("change", sa.BigInteger),
    # Its time less this machine's uptime, by which all who share a file on it go.
    sa.Column("clock", sa.Double),
    # On a shared database: how far its machine's wall clock was ahead of the database's at the last renewal.
    sa.Column("wall_ahead", sa.Double),
)
