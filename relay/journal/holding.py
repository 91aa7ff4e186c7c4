"""Keeping a destination back, by a pause, an open breaker or a 429's hold, and letting it go on."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal import claim as claiming
from relay.journal import permits
from relay.journal.codec import to_wire
from relay.journal.constructs import among
from relay.journal.schema import delivery, destination, is_suspect, is_waiting
from relay.journal.standings import standing_of
from relay.journal.tx import Tx
from relay.journal.values import Claim
from relay.model import Standing

BATCH = 500
"""Rows that one transaction makes due, so that senders do not wait behind it."""


def claim(tx: Tx, name: str, limit: int, *, suspect: bool, room: int | None = None) -> list[Claim]:
    """Take up to `limit` deliveries that are due; none while the destination is kept back."""
    at = standing_of(tx.connection, name)
    if at.opened_at is not None or is_stopped(at, tx.now):
        return []
    if room is not None:
        limit = min(limit, permits.left(tx, name, room))
    return claiming.take(tx, name, limit, suspect=suspect)


def probe(tx: Tx, name: str, *, next_probe_at: float, suspect: bool, room: int | None = None) -> list[Claim]:
    """Where a probe of an open breaker is due, take one delivery and set the time of the next probe."""
    at = standing_of(tx.connection, name)
    if at.probe_at is None or at.probe_at > tx.now or is_stopped(at, tx.now):
        return []
    if room is not None and permits.left(tx, name, room) <= 0:
        return []
    # Another node may have been elected since the row was read.
    ours = sa.update(destination).where(destination.c.name == name, destination.c.opened_at.is_not(None))
    elected = ours.where(destination.c.probe_at == at.probe_at).values(probe_at=next_probe_at)
    if not tx.connection.execute(elected).rowcount:
        return []
    claims = claiming.take(tx, name, 1, suspect=False)
    if not claims and suspect:
        claims = claiming.take(tx, name, 1, suspect=True)
    if not claims:
        tx.connection.execute(ours.values(probe_at=at.probe_at))
    return claims


def is_stopped(at: Standing, now: float) -> bool:
    """Whether a pause or a hold lets nothing pass, probes neither."""
    return at.paused_at is not None or (at.held_until is not None and at.held_until > now)


def pause(tx: Tx, name: str, *, reason: str) -> bool:
    """Begin a pause; False where there is one."""
    return _change(
        tx, name, destination.c.paused_at.is_(None), paused_at=tx.now, pause_reason=to_wire(reason)
    )


def resume(tx: Tx, name: str) -> int | None:
    """End a pause, which is added to the earlier ones, and a 429's hold.

    How many deliveries have a due time; None where there was neither.
    """
    at = standing_of(tx.connection, name)
    if not is_stopped(at, tx.now):
        return None
    ended = _change(
        tx,
        name,
        destination.c.paused_at == at.paused_at,  # another node may have ended it since
        paused_at=None,
        pause_reason=None,
        paused_for=at.paused_for + (0.0 if at.paused_at is None else max(0.0, tx.now - at.paused_at)),
        held_until=None,
    )
    if not ended:
        return None
    timed = sa.select(sa.func.count()).where(delivery.c.destination == name, delivery.c.due_at.is_not(None))
    return sum(tx.connection.execute(timed.where(which)).scalar_one() for which in (is_waiting, is_suspect))


def open_breaker(tx: Tx, name: str, *, probe_at: float) -> bool:
    """Open the breaker; False where it is open."""
    return _change(tx, name, destination.c.opened_at.is_(None), opened_at=tx.now, probe_at=probe_at)


def close_breaker(tx: Tx, name: str) -> bool:
    """Close the breaker; False where it is closed."""
    return _change(tx, name, destination.c.opened_at.is_not(None), opened_at=None, probe_at=None)


def hold(tx: Tx, name: str, *, until: float) -> None:
    """Keep it back until then, or longer where it is kept back longer already."""
    held = destination.c.held_until
    _change(tx, name, sa.or_(held.is_(None), held < until), held_until=until)


def make_due(tx: Tx, name: str, *, since: float) -> int:
    """Make due what waits for a later time than `since`; less than a batch when there is no more."""
    return sum(_make_due(tx, name, which, since) for which in (is_waiting, is_suspect))


def _make_due(tx: Tx, name: str, which: sa.ColumnElement[bool], since: float) -> int:
    later = (
        sa.select(delivery.c.seq)
        .where(which, delivery.c.destination == name, delivery.c.due_at > since)
        .order_by(delivery.c.due_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)  # who holds one of them takes it, or makes it due as well
    )
    made = sa.update(delivery).where(among(delivery.c.seq, later)).values(due_at=since)
    return tx.connection.execute(made).rowcount


def _change(tx: Tx, name: str, *where: sa.ColumnElement[bool], **values: object) -> bool:
    """Change a destination's row, made where there is none yet; whether the conditions were met."""
    tx.statements.know.run(tx.connection, [(name,)])
    changed = sa.update(destination).where(destination.c.name == name, *where).values(**values)
    return tx.connection.execute(changed).rowcount > 0
