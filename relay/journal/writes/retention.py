"""What was kept long enough goes, in batches, and stays counted."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import sqlalchemy as sa

from relay.journal.tables.schema import (
    CANCELLED,
    DEAD,
    DELIVERED,
    FILTERED,
    attempt,
    dedup,
    delivery,
    event,
)
from relay.journal.values import Purged, Retention
from relay.journal.writes.lanes import holds_its_lane
from relay.journal.writes.tx import BATCH, Tx
from relay.model import DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """What was finished before these times may go."""

    delivered: float
    filtered: float
    dead: float

    @classmethod
    def of(cls, retention: Retention, now: float) -> Cutoffs:
        """The times that a retention means at a moment."""
        return cls(
            delivered=now - retention.delivered,
            filtered=now - retention.filtered,
            dead=now - retention.dead,
        )

    def early(self, now: float) -> Cutoffs:
        """What goes when the journal is too big: all that was delivered or filtered."""
        return replace(self, delivered=now, filtered=now)


Kind = Literal["delivered", "filtered", "dead"]
"""What an operator may have removed early; with delivered ones go the cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Early:
    """What an operator has removed before its time: events of these kinds that ended before then."""

    before: float
    kinds: frozenset[Kind]

    @property
    def cutoffs(self) -> Cutoffs:
        """With a dead delivery its event's delivered ones go; no other way round."""
        return Cutoffs(
            delivered=self.before if self.kinds & {"delivered", "dead"} else -math.inf,
            filtered=self.before if "filtered" in self.kinds else -math.inf,
            dead=self.before if "dead" in self.kinds else -math.inf,
        )

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is to be done, each until nothing is left for it."""
        steps: dict[Kind, Step] = {"delivered": purge_delivered, "dead": purge_dead}
        return (*(step for kind, step in steps.items() if kind in self.kinds), purge_filtered)


def count_early(connection: sa.Connection, early: Early) -> int:
    """How many events that is now; reads all of them."""
    cutoffs = early.cutoffs
    filtered = sa.and_(event.c.state == FILTERED, event.c.received_at < _filtered_limit(cutoffs))
    states = {"delivered": ("delivered", "cancelled"), "dead": ("dead",), "filtered": ()}
    ended = [state for kind in early.kinds for state in states[kind]]
    own = delivery.c.event_id == event.c.id
    finished = sa.and_(
        sa.exists().where(own, delivery.c.state.in_(ended)), ~sa.exists().where(own, _must_stay(cutoffs))
    )
    number = sa.select(sa.func.count()).select_from(event).where(sa.or_(filtered, finished))
    return int(connection.execute(number).scalar_one())


def _filtered_limit(cutoffs: Cutoffs) -> sa.ColumnElement[float]:
    """One on which a route failed stays as long as a dead one."""
    return sa.case((event.c.reason == "route_error", cutoffs.dead), else_=cutoffs.filtered)


Cursor = tuple[str, float, int]
"""Where a purge stands: destination (dead ones only), end, and number of the last row it looked at."""

START: Cursor = ("", 0.0, 0)


class Step(Protocol):
    """One way to purge a batch."""

    def __call__(self, tx: Tx, /, cutoffs: Cutoffs, cursor: Cursor) -> tuple[Purged, Cursor | None]:
        """Remove a batch; what that was, and where to go on, if at all."""
        ...


def purge_delivered(tx: Tx, cutoffs: Cutoffs, cursor: Cursor) -> tuple[Purged, Cursor | None]:
    """Remove a batch of events whose last end was a delivery; and where to go on, if at all."""
    position = sa.tuple_(delivery.c.finished_at, delivery.c.seq)
    found = (
        sa.select(delivery.c.event_id, sa.literal("").label("at"), delivery.c.finished_at, delivery.c.seq)
        .where(
            sa.or_(delivery.c.state == DELIVERED, delivery.c.state == CANCELLED),
            delivery.c.finished_at < cutoffs.delivered,
            position > sa.tuple_(sa.literal(cursor[1]), sa.literal(cursor[2])),
        )
        .order_by(delivery.c.finished_at, delivery.c.seq)
    )
    return _purge_finished(tx, cutoffs, found)


def purge_dead(tx: Tx, cutoffs: Cutoffs, cursor: Cursor) -> tuple[Purged, Cursor | None]:
    """Remove a batch of events of which a delivery died; and where to go on, if at all."""
    position = sa.tuple_(delivery.c.destination, delivery.c.finished_at, delivery.c.seq)
    found = (
        sa.select(
            delivery.c.event_id, delivery.c.destination.label("at"), delivery.c.finished_at, delivery.c.seq
        )
        .where(
            delivery.c.state == DEAD,
            delivery.c.finished_at < cutoffs.dead,
            position > sa.tuple_(*(sa.literal(part) for part in cursor)),
        )
        .order_by(delivery.c.destination, delivery.c.finished_at, delivery.c.seq)
    )
    return _purge_finished(tx, cutoffs, found)


def purge_filtered(tx: Tx, cutoffs: Cutoffs, cursor: Cursor) -> tuple[Purged, Cursor | None]:
    """Remove a batch of filtered events; one on which a route failed stays as long as a dead one."""
    position = sa.tuple_(event.c.received_at, event.c.seq)
    rows = tx.connection.execute(
        sa.select(event.c.id, event.c.received_at, event.c.seq)
        .where(
            event.c.state == FILTERED,
            event.c.received_at < _filtered_limit(cutoffs),
            position > sa.tuple_(sa.literal(cursor[1]), sa.literal(cursor[2])),
        )
        .order_by(event.c.received_at, event.c.seq)
        .limit(BATCH)
    ).all()
    removed = _remove_events(tx, [row.id for row in rows], event.c.state == FILTERED)
    last = ("", rows[-1].received_at, rows[-1].seq) if len(rows) == BATCH else None
    return Purged(events=removed), last


def purge_keys(tx: Tx, cutoffs: Cutoffs, cursor: Cursor) -> tuple[Purged, Cursor | None]:  # noqa: ARG001 - see Step
    """Remove a batch of dedup keys whose window is over."""
    keys = sa.select(dedup.c.source, dedup.c.key).where(dedup.c.expires_at <= tx.now).limit(BATCH)
    # The time is asked for again: another node may have taken a key over since it was found.
    removed = tx.connection.execute(
        sa.delete(dedup).where(sa.tuple_(dedup.c.source, dedup.c.key).in_(keys), dedup.c.expires_at <= tx.now)
    ).rowcount
    return Purged(dedup=removed), START if removed == BATCH else None


def _purge_finished(
    tx: Tx, cutoffs: Cutoffs, found: sa.Select[str, str, float, int]
) -> tuple[Purged, Cursor | None]:
    rows = tx.connection.execute(found.limit(BATCH)).all()
    if not rows:
        return Purged(), None
    candidates = _locked(tx, {row.event_id for row in rows})
    blocked = tx.connection.execute(
        sa.select(delivery.c.event_id).where(delivery.c.event_id.in_(candidates), _must_stay(cutoffs))
    )
    going = sorted(candidates - {row.event_id for row in blocked})
    last = rows[-1]
    cursor = (last.at, last.finished_at, last.seq) if len(rows) == BATCH else None
    if not going:
        return Purged(), cursor
    deliveries = _remove_deliveries(tx, going)
    return Purged(events=_remove_events(tx, going), deliveries=deliveries), cursor


def _must_stay(cutoffs: Cutoffs) -> sa.ColumnElement[bool]:
    """Whether a delivery keeps its event."""
    done = delivery.c.state.in_((DeliveryState.DELIVERED.value, DeliveryState.CANCELLED.value))
    may_go = sa.or_(
        sa.and_(done, delivery.c.finished_at < cutoffs.delivered),
        sa.and_(
            delivery.c.state == DeliveryState.DEAD.value,
            delivery.c.finished_at < cutoffs.dead,
            ~holds_its_lane,
        ),
    )
    return sa.func.coalesce(may_go, sa.false()).is_(sa.false())


def _locked(tx: Tx, event_ids: Collection[str]) -> set[str]:
    """Those that nobody else works on, with their deliveries held as they are to the end."""
    events = (
        sa.select(event.c.id)
        .where(event.c.id.in_(event_ids))
        .order_by(event.c.seq)
        .with_for_update(skip_locked=True)
    )
    ours = {row.id for row in tx.connection.execute(events)}
    theirs = (
        sa.select(delivery.c.seq)
        .where(delivery.c.event_id.in_(ours))
        .order_by(delivery.c.seq)
        .with_for_update()
    )
    tx.connection.execute(theirs).all()
    return ours


def _remove_deliveries(tx: Tx, event_ids: Sequence[str]) -> int:
    ids = sa.select(delivery.c.id).where(delivery.c.event_id.in_(event_ids))
    tx.connection.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(ids)))
    removed = tx.connection.execute(
        sa.delete(delivery)
        .where(delivery.c.event_id.in_(event_ids))
        .returning(delivery.c.source, delivery.c.destination, delivery.c.state)
    ).all()
    for row in removed:
        tx.sums.ledger[row.source, row.destination, f"purged_{row.state}"] += 1
    return len(removed)


def _remove_events(tx: Tx, ids: Sequence[str], *where: sa.ColumnElement[bool]) -> int:
    if not ids:
        return 0
    removed = tx.connection.execute(
        sa.delete(event).where(event.c.id.in_(ids), *where).returning(event.c.source, event.c.state)
    ).all()
    for row in removed:
        tx.sums.ledger[row.source, "", f"purged_{row.state}"] += 1
    return len(removed)
