"""Storing events: the fast way for a batch without surprises, and one by one with all the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Literal

import sqlalchemy as sa

from relay.journal.reads.destination_state import own_time
from relay.journal.tables.rows import WITHOUT_RENDERED, delivery_row, event_row, read_delivery, to_wire
from relay.journal.tables.schema import FILTERED, SUSPECT, dedup, delivery, event
from relay.journal.tables.statements import Row
from relay.journal.values import Entry, Receipt
from relay.journal.writes import lanes
from relay.journal.writes.tx import Mismatch, Tx
from relay.model import Delivery, DeliveryState, EventState


def append_many(tx: Tx, entries: Sequence[Entry]) -> list[Receipt]:
    """Store entries none of which was seen before, four statements in all; else `Mismatch`."""
    keys = [_key_row(tx, entry) for entry in entries if entry.dedup is not None]
    keys.sort(key=itemgetter(0, 1))  # locks in one order, whatever other nodes store meanwhile
    if keys and tx.statements.take_key.run(tx.connection, keys) != len(keys):
        raise Mismatch
    return _store(tx, entries)


def append_one(tx: Tx, entry: Entry) -> Receipt:
    """Store one entry, or find that it was seen and do what follows from that."""
    if entry.dedup is None or tx.statements.take_key.run(tx.connection, [_key_row(tx, entry)]):
        return _store(tx, (entry,))[0]
    first = tx.connection.execute(
        sa.select(dedup.c.event_id, dedup.c.body_hash).where(
            dedup.c.source == entry.event.source, dedup.c.key == to_wire(entry.dedup.key)
        )
    ).one()
    if first.body_hash != entry.dedup.body_hash:
        conflict = replace(entry.event, state=EventState.FILTERED, reason="conflict")
        _store(tx, (Entry(event=conflict),))
        return Receipt(kind="conflict", event_id=conflict.id, first_event_id=first.event_id)
    revived = _revive(tx, first.event_id, entry)
    return Receipt(kind="duplicate", event_id=first.event_id, revived=revived, first_event_id=first.event_id)


def _key_row(tx: Tx, entry: Entry) -> Row:
    assert entry.dedup is not None  # noqa: S101 - the callers have looked
    key = entry.dedup
    return (entry.event.source, to_wire(key.key), entry.event.id, key.body_hash, key.expires_at, tx.now)


def _store(tx: Tx, entries: Sequence[Entry]) -> list[Receipt]:
    events: list[Row] = []
    planned: list[Delivery] = []
    for entry in entries:
        events.append(event_row(entry.event, len(entry.deliveries)))
        tx.sums.ledger[entry.event.source, "", "accepted"] += 1
        planned += entry.deliveries
    tx.statements.insert_event.run(tx.connection, events)
    if planned:
        plan(tx, planned, "planned")
    return [Receipt(kind="stored", event_id=entry.event.id) for entry in entries]


def plan(tx: Tx, planned: Sequence[Delivery], counter: Literal["planned", "replayed"]) -> None:
    """Store new deliveries; they count towards the ledger, and the pending ones towards the backlog."""
    rows: list[Row] = []
    for one in lanes.enter(tx, planned):
        rows.append(delivery_row(one, now=tx.now))
        tx.sums.ledger[one.source, one.destination, counter] += 1
        if one.state is DeliveryState.PENDING:
            tx.sums.backlog[one.destination] += 1
    tx.statements.insert_delivery.run(tx.connection, rows)


def unowned(planned: Delivery, *, now: float) -> Delivery:
    """A planned delivery as one that anybody may claim at once."""
    if planned.state is not DeliveryState.PENDING:
        return planned
    return replace(planned, owner=None, fence=0, attempts=0, due_at=now)


def _revive(tx: Tx, event_id: str, entry: Entry) -> tuple[str, ...]:
    """Set going what of the first event did not succeed; nothing, when it is purged."""
    moved = tx.connection.execute(
        sa.update(event)
        .where(event.c.id == event_id, event.c.state == FILTERED, sa.literal(bool(entry.deliveries)))
        .values(state=EventState.ROUTED.value, reason=None, planned=len(entry.deliveries))
    ).rowcount
    if moved:
        plans = [unowned(replace(one, event_id=event_id), now=tx.now) for one in entry.deliveries]
        plan(tx, plans, "planned")
        return tuple(one.destination for one in plans)
    return tuple(one.destination for one in restart(tx, delivery.c.event_id == event_id))


def restart(tx: Tx, *which: sa.ColumnElement[bool]) -> list[Delivery]:
    """Make the dead among these deliveries pending: due now, counted and aged anew, numbered on.

    One that holds its lane is the head again; one that was skipped goes to the end of its lane.
    """
    rows = tx.connection.execute(
        sa.update(delivery)
        .where(delivery.c.state == DeliveryState.DEAD.value, *which)
        .values(
            state=DeliveryState.PENDING.value,
            due_at=sa.case((delivery.c.lane.is_(None), tx.now), else_=sa.null()),
            age_from=own_time(tx.now),
            finished=0,
            # What was suspect stays so: it must not take its neighbours along again.
            owners_lost=sa.case((delivery.c.owners_lost >= SUSPECT, SUSPECT), else_=delivery.c.owners_lost),
            finished_at=None,
            reason=None,
            behind_since=None,
        )
        .returning(*WITHOUT_RENDERED)
    ).mappings()
    restarted = [read_delivery(row) for row in sorted(rows, key=lambda row: row["seq"])]
    lanes.restarted(tx, restarted)
    for one in restarted:
        tx.sums.backlog[one.destination] += 1
    return restarted
