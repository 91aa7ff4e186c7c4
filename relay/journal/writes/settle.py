"""Ending attempts: fenced by owner and fence, and harmless when done twice."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from relay.journal.tables.rows import attempt_row, maybe_to_wire, pack_rendered, to_wire
from relay.journal.tables.schema import PENDING, attempt, delivery
from relay.journal.tables.statements import Row
from relay.journal.values import Settled, Settlement
from relay.journal.writes import lanes
from relay.journal.writes.lanes import Gone
from relay.journal.writes.tx import Mismatch, Tx
from relay.model import DeliveryState, Outcome

_DONE = Settled(done=True, promoted=False)


def settle_many(tx: Tx, settlements: Sequence[Settlement]) -> list[Settled]:
    """Settle what is all still held as it was claimed, two statements in all; else `Mismatch`."""
    changed = tx.statements.settle.run(tx.connection, [_row(tx, one) for one in settlements])
    if changed != len(settlements):
        raise Mismatch
    return _record(tx, settlements)


def settle_one(tx: Tx, settlement: Settlement) -> Settled:
    """Settle one; done also when exactly this was settled before, not when it is fenced off."""
    if tx.statements.settle.run(tx.connection, [_row(tx, settlement)]):
        return _record(tx, (settlement,))[0]
    held = settlement.delivery
    before = tx.connection.execute(
        sa.select(attempt.c.number).where(
            attempt.c.delivery_id == held.id,
            attempt.c.number == settlement.attempt.number,
            attempt.c.fence == held.fence,
            attempt.c.outcome == settlement.attempt.outcome.value,
            attempt.c.started_at == settlement.attempt.started_at,
        )
    ).first()
    return Settled(done=before is not None, promoted=False)


def settle_plainly(tx: Tx, settlement: Settlement) -> Settled:
    """Write the end of an attempt that cannot be written whole: its outcome and what follows from it.

    Without the attempt's own row, its status and its texts, one of which the engine refuses; and by a
    statement of its own, so that a bug in the usual one has nothing sent again that was delivered.
    """
    held, pending = settlement.delivery, settlement.state is DeliveryState.PENDING
    changed = tx.connection.execute(
        sa.update(delivery)
        .where(
            delivery.c.id == held.id,
            delivery.c.owner == held.owner,
            delivery.c.fence == held.fence,
            delivery.c.state == PENDING,
        )
        .values(
            state=settlement.state.value,
            finished=settlement.finished,
            due_at=settlement.due_at if pending else None,
            outcome=settlement.attempt.outcome.value,
            error=to_wire("its end could not be written whole; the log says why"),
            reason=settlement.reason,
            finished_at=None if pending else tx.now,
            owner=None,
            owned_at=None,
        )
    ).rowcount
    if not changed:
        return Settled(done=False, promoted=False)
    if not pending:
        tx.sums.backlog[held.destination] -= 1
    if settlement.state is DeliveryState.DELIVERED:
        tx.sums.ledger[held.source, held.destination, "delivered"] += 1
    gone = _gone(settlement)
    promoted = lanes.leave(tx, [] if gone is None else [gone])
    return Settled(done=True, promoted=bool(promoted))


def outcomes(tx: Tx, delivery_id: str) -> list[Outcome]:
    """How a delivery's attempts ended so far, the first one first."""
    ended = (
        sa.select(attempt.c.outcome).where(attempt.c.delivery_id == delivery_id).order_by(attempt.c.number)
    )
    return [Outcome(row.outcome) for row in tx.connection.execute(ended)]


def _row(tx: Tx, settlement: Settlement) -> Row:
    ended = settlement.attempt
    pending = settlement.state is DeliveryState.PENDING
    return (
        settlement.state.value,
        settlement.finished,
        settlement.due_at if pending else None,
        ended.outcome.value,
        ended.status,
        maybe_to_wire(ended.error or settlement.reason),
        settlement.reason,
        None if pending else tx.now,
        pack_rendered(settlement.rendered),
        settlement.delivery.id,
        settlement.delivery.owner,
        settlement.delivery.fence,
    )


def _record(tx: Tx, settlements: Sequence[Settlement]) -> list[Settled]:
    tx.statements.insert_attempt.run(
        tx.connection, [attempt_row(one.attempt, fence=one.delivery.fence) for one in settlements]
    )
    for one in settlements:
        if one.state is not DeliveryState.PENDING:
            tx.sums.backlog[one.delivery.destination] -= 1
        if one.state is DeliveryState.DELIVERED:
            tx.sums.ledger[one.delivery.source, one.delivery.destination, "delivered"] += 1
        else:
            text = one.attempt.error or one.reason or _status_text(one)
            tx.sums.errors[one.delivery.destination] = text
    if all(one.delivery.lane is None for one in settlements):
        return [_DONE] * len(settlements)
    ends = [_gone(one) for one in settlements]
    promoted = lanes.leave(tx, [gone for gone in ends if gone is not None])
    return [Settled(done=True, promoted=gone is not None and gone.lane in promoted) for gone in ends]


def _gone(settlement: Settlement) -> Gone | None:
    if settlement.state is DeliveryState.PENDING:
        return None
    return Gone.of(settlement.delivery, dead=settlement.state is DeliveryState.DEAD)


def _status_text(settlement: Settlement) -> str:
    ended = settlement.attempt
    return ended.outcome.value if ended.status is None else f"HTTP {ended.status}"
