"""Keeping a destination back, by a pause, an open breaker or a 429's hold, and letting it go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from relay.journal.reads.destination_state import standing_of
from relay.journal.tables.rows import standing_values
from relay.journal.tables.schema import delivery, destination, is_suspect, is_waiting
from relay.journal.tables.sql_functions import among
from relay.journal.values import Claim, Load, Probe, StateChange
from relay.journal.writes import claim as claiming
from relay.journal.writes import nodes, shared_concurrency
from relay.journal.writes.tx import BATCH, Tx
from relay.model import Standing


def claim(
    tx: Tx, name: str, limit: int, *, suspect: bool, room: int | None = None, load: Load | None = None
) -> list[Claim]:
    """Take up to `limit` deliveries that are due; none while the destination is kept back."""
    if load is not None:
        load.begin()
    at = standing_of(tx.connection, name)
    if at.opened_at is not None or is_stopped(at, tx.now):
        return []
    if room is not None:
        limit = min(limit, shared_concurrency.left(tx, name, room))
    return claiming.take(tx, name, limit, suspect=suspect, load=load)


def probe(
    tx: Tx,
    name: str,
    *,
    next_probe_at: float,
    unused: float | None,
    suspect: bool,
    room: int | None = None,
    load: Load | None = None,
) -> Probe:
    """Where a probe of an open breaker is due, take one delivery and set the time of the next probe.

    It is due also where the time that is set is that of `unused`: this node's own, not made use of.
    """
    if load is not None:
        load.begin()
    at = standing_of(tx.connection, name)
    if at.probe_at is None or (at.probe_at > tx.now and at.probe_at != unused) or is_stopped(at, tx.now):
        return Probe(claims=[], standing=at)
    if room is not None and shared_concurrency.left(tx, name, room) <= 0:
        return Probe(claims=[], standing=at)
    # Another node may have been elected, or have closed the breaker, since the row was read.
    elected = _change(tx, name, lambda now: replace(now, probe_at=next_probe_at) if now == at else now)
    if not elected.changed:
        return Probe(claims=[], standing=elected.standing)
    claims = claiming.take(tx, name, 1, suspect=False, load=load)
    if not claims and suspect:
        claims = claiming.take(tx, name, 1, suspect=True, load=load)
    if claims:
        return Probe(claims=claims, standing=elected.standing)
    due_at = min(at.probe_at, tx.now)  # what is due next, whoever stores it, is a probe at once
    back = _change(tx, name, lambda now: replace(now, probe_at=due_at))
    return Probe(claims=[], standing=back.standing)


def is_stopped(at: Standing, now: float) -> bool:
    """Whether a pause or a hold stops everything, probes included."""
    return at.paused_at is not None or (at.held_until is not None and at.held_until > now)


def pause(tx: Tx, name: str, *, reason: str, asked_at: float | None = None) -> StateChange:
    """Begin a pause, unless there is one.

    `asked_at`: when an attempt asked for it; what it asked for before an operator's `resume` is over.
    """

    def begin(at: Standing) -> Standing:
        if at.paused_at is not None or _is_over(at, asked_at):
            return at
        return replace(at, paused_at=tx.now, pause_reason=reason)

    return _announced(tx, _change(tx, name, begin))


def resume(tx: Tx, name: str) -> StateChange:
    """End a pause, which is added to the earlier ones, and a 429's hold, whichever there is now."""

    def end(at: Standing) -> Standing:
        if not is_stopped(at, tx.now):
            return at
        paused = 0.0 if at.paused_at is None else max(0.0, tx.now - at.paused_at)
        return replace(
            at,
            paused_at=None,
            pause_reason=None,
            paused_for=at.paused_for + paused,
            held_until=None,
            resumed_at=tx.now,
        )

    ended = _change(tx, name, end)
    if not ended.changed:
        return ended
    make_due(tx, name, since=tx.now)  # what began to wait while the rest was made due
    timed = sa.select(sa.func.count()).where(delivery.c.destination == name, delivery.c.due_at.is_not(None))
    due = sum(tx.connection.execute(timed.where(which)).scalar_one() for which in (is_waiting, is_suspect))
    return replace(_announced(tx, ended), due=due)


def open_breaker(tx: Tx, name: str, *, probe_at: float) -> StateChange:
    """Open the breaker, unless it is open."""
    return _change(
        tx,
        name,
        lambda at: at if at.opened_at is not None else replace(at, opened_at=tx.now, probe_at=probe_at),
    )


def close_breaker(tx: Tx, name: str, *, opened_at: float | None = None) -> StateChange:
    """Close the breaker where it is open, and still by that opening if one is given."""

    def close(at: Standing) -> Standing:
        if opened_at is not None and at.opened_at != opened_at:
            return at
        return replace(at, opened_at=None, probe_at=None)

    return _change(tx, name, close)


def hold(tx: Tx, name: str, *, until: float, asked_at: float | None = None) -> StateChange:
    """Keep it back until then, or longer where it is kept back longer already; `asked_at` as for a pause."""

    def longer(at: Standing) -> Standing:
        if until <= (at.held_until or 0.0) or _is_over(at, asked_at):
            return at
        return replace(at, held_until=until)

    return _change(tx, name, longer)


def _is_over(at: Standing, asked_at: float | None) -> bool:
    """Whether an operator has let it go on since an attempt asked for a pause or a hold.

    The journal may have been away in between. Of two clocks that differ a little, what is taken for over
    costs one more request; what is not would hold for an hour against the operator's word.
    """
    return asked_at is not None and at.resumed_at is not None and asked_at < at.resumed_at


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


def _announced(tx: Tx, change: StateChange) -> StateChange:
    """With the number by which an operator can tell that every process goes by it."""
    number = nodes.announce(tx) if change.changed else nodes.change_number(tx)
    return replace(change, number=number)


def _change(tx: Tx, name: str, decide: Callable[[Standing], Standing]) -> StateChange:
    """The one way to change a destination's state: decided by its row as it is now, and counted.

    The row, made where there is none yet, is locked from the decision to the end of the transaction.
    """
    tx.statements.know.run(tx.connection, [(name,)])
    before = standing_of(tx.connection, name, lock=True)
    after = decide(before)
    if after == before:
        return StateChange(changed=False, standing=before)
    after = replace(after, version=before.version + 1)
    tx.connection.execute(
        sa.update(destination).where(destination.c.name == name).values(**standing_values(after))
    )
    return StateChange(changed=True, standing=after)
