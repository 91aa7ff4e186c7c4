"""What operators ask for: tried again, sent again, cancelled; and what ends by its age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from relay.journal.reads.destination_state import own_time, read_standings
from relay.journal.tables.rows import WITHOUT_RENDERED, read_delivery, to_wire
from relay.journal.tables.schema import DEAD, delivery, event, is_free, may_expire
from relay.journal.tables.sql_functions import among
from relay.journal.writes import lanes
from relay.journal.writes.append import plan, restart, unowned
from relay.journal.writes.lanes import Gone
from relay.journal.writes.order_changes import read_changes
from relay.journal.writes.tx import Tx
from relay.model import Delivery, DeliveryState, EventState, Outcome, route_id


def retry(tx: Tx, ids: Sequence[str]) -> int:
    """Make dead and waiting deliveries due now, counted and aged anew; how many there were."""
    is_head = sa.or_(delivery.c.due_at.is_not(None), delivery.c.parked_at.is_not(None))
    waiting = tx.connection.execute(
        sa.update(delivery)
        .where(delivery.c.id.in_(ids), is_free, sa.or_(delivery.c.lane.is_(None), is_head))
        .values(
            due_at=sa.case((delivery.c.due_at < tx.now, delivery.c.due_at), else_=tx.now),
            parked_at=None,
            behind_since=None,
            age_from=own_time(tx.now),
            finished=0,
        )
    ).rowcount
    return waiting + len(restart(tx, delivery.c.id.in_(ids)))


def replay(tx: Tx, plans: Sequence[Delivery]) -> int:
    """Add deliveries of stored events, aged in their destinations' clocks; returns how many have one."""
    wanted = {one.event_id for one in plans}
    # Locked, so that no purge on another node takes an event away from under its new delivery.
    found = sa.select(event.c.id).where(event.c.id.in_(wanted)).order_by(event.c.seq).with_for_update()
    there = {row.id for row in tx.connection.execute(found)}
    known = read_standings(tx.connection)
    ages = {name: at.time(tx.now) for name, at in known.items()}
    changes = read_changes(tx.connection)
    planned = [
        replace(
            unowned(one, now=tx.now),
            age_from=ages.get(one.destination, tx.now),
            behind=route_id(one.source, one.route) in changes.get(one.destination, ()),
        )
        for one in plans
        if one.event_id in there
    ]
    if not planned:
        return 0
    for event_id, number in Counter(one.event_id for one in planned).items():
        tx.connection.execute(
            sa.update(event)
            .where(event.c.id == event_id)
            .values(state=EventState.ROUTED.value, reason=None, planned=event.c.planned + number)
        )
    plan(tx, planned, "replayed")
    return len(planned)


def cancel(tx: Tx, ids: Sequence[str]) -> int:
    """Cancel what waits and what is dead; how many there were."""
    wanted = delivery.c.id.in_(ids)
    waiting = _end(tx, sa.and_(wanted, is_free), state=DeliveryState.CANCELLED)
    dead = _end(tx, sa.and_(wanted, delivery.c.state == DEAD), state=DeliveryState.CANCELLED)
    for one in waiting:
        tx.sums.backlog[one.destination] -= 1
    _leave(tx, [Gone.of(one) for one in waiting] + [Gone.of(one, was_dead=True) for one in dead])
    return len(waiting) + len(dead)


def expire(tx: Tx, name: str, *, before: float, limit: int) -> list[Delivery]:
    """Expire deliveries whose age began before `before`, oldest first."""
    old = (
        sa.select(delivery.c.seq)
        .where(may_expire, delivery.c.destination == name, delivery.c.age_from < before)
        .order_by(delivery.c.age_from)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    expired = _end(
        tx,
        among(delivery.c.seq, old),
        state=DeliveryState.DEAD,
        outcome=Outcome.EXPIRED.value,
        status=None,
        error=to_wire("max_age passed while it waited"),
        reason="expired",
    )
    tx.sums.backlog[name] -= len(expired)
    _leave(tx, [Gone.of(one, dead=True) for one in expired])
    return expired


def _end(tx: Tx, which: sa.ColumnElement[bool], *, state: DeliveryState, **values: object) -> list[Delivery]:
    ended = (
        sa.update(delivery)
        .where(which)
        .values(
            state=state.value, due_at=None, parked_at=None, behind_since=None, finished_at=tx.now, **values
        )
        .returning(*WITHOUT_RENDERED)
    )
    rows = tx.connection.execute(ended).mappings().all()
    return [read_delivery(row) for row in sorted(rows, key=lambda row: row["seq"])]


def _leave(tx: Tx, gone: Sequence[Gone | None]) -> None:
    lanes.leave(tx, [one for one in gone if one is not None])
