"""Taking deliveries that are due, giving them back, and taking them from owners that are gone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from relay.journal.tables.rows import WITHOUT_RENDERED, attempt_row, read_delivery, read_event, to_wire
from relay.journal.tables.schema import delivery, event, is_behind, is_parked, is_suspect, is_waiting
from relay.journal.tables.sql_functions import Each, among
from relay.journal.tables.statements import Row
from relay.journal.values import Claim, Load, Rescued
from relay.journal.writes import lanes
from relay.journal.writes.lanes import Gone
from relay.journal.writes.tx import Tx
from relay.model import POISON_AFTER, SUSPECT_AFTER, Attempt, Delivery, DeliveryState, Event, Outcome

REFUSED_FOR = 1.0
"""Seconds for which a delivery waits that had no room in memory; what is due behind it goes first."""

_READ_AT_ONCE = 64 * 1024
"""Bytes of a body that is read with its row; a larger one is read by itself, once it may be."""

FORGOTTEN_AFTER = 10.0
"""Seconds after which a delivery that its own node does not know of is taken from it."""


def _taking(which: sa.ColumnElement[bool]) -> sa.UpdateBase:
    """Built once: building it and its key in SQLAlchemy's cache cost a claim 250 microseconds."""
    due = (
        sa.select(delivery.c.seq)
        .where(
            which,
            delivery.c.destination == sa.bindparam("b_destination"),
            delivery.c.due_at <= sa.bindparam("b_now"),
        )
        .order_by(delivery.c.due_at, delivery.c.seq)
        .limit(sa.bindparam("b_limit"))
        .with_for_update(skip_locked=True)
    )
    return (
        sa.update(delivery)
        .where(among(delivery.c.seq, due))
        .values(
            owner=sa.bindparam("b_owner"),
            owned_at=sa.bindparam("b_now"),
            fence=delivery.c.fence + 1,
            attempts=delivery.c.attempts + 1,
        )
        .returning(*_but_large(delivery, delivery.c.rendered))
    )


def _but_large(table: sa.Table, blob: sa.Column[Any]) -> list[sa.ColumnElement[Any]]:
    """A table's columns, and `size`: the length of its blob, which is null in place of a large one."""
    size = sa.func.length(blob)
    short = sa.case((size <= sa.literal_column(str(_READ_AT_ONCE)), blob)).label(blob.name)
    return [*(column for column in table.c if column is not blob), short, size.label("size")]


_TAKE_WAITING = _taking(is_waiting)
_TAKE_SUSPECT = _taking(is_suspect)
_EVENTS = sa.select(*_but_large(event, event.c.body)).where(
    event.c.id.in_(sa.bindparam("b_ids", expanding=True))
)
_BODY = sa.select(event.c.body).where(event.c.id == sa.bindparam("b_id"))
_RENDERED = sa.select(delivery.c.rendered).where(delivery.c.id == sa.bindparam("b_id"))


def take(tx: Tx, destination: str, limit: int, *, suspect: bool, load: Load | None = None) -> list[Claim]:
    """Take up to `limit` deliveries that are due, the longest due first, and number their attempts.

    What keeps the destination back is for the caller to ask. What `load` does not let into memory is
    due again after a second, behind what is due now.
    """
    if limit <= 0:  # SQLite takes a negative limit for none
        return []
    statement = _TAKE_SUSPECT if suspect else _TAKE_WAITING
    bound = {"b_destination": destination, "b_now": tx.now, "b_limit": limit, "b_owner": tx.node}
    rows = tx.connection.execute(statement, bound).mappings().all()
    if not rows:
        return []
    ids = {row["event_id"] for row in rows}
    found = tx.connection.execute(_EVENTS, {"b_ids": list(ids)}).mappings()
    events = {row["id"]: row for row in found}
    claims: list[Claim] = []
    refused: list[int] = []
    for row in sorted(rows, key=lambda row: (row["due_at"], row["seq"])):
        its = events[row["event_id"]]
        sizes = {"body": its["size"], "rendered": row["size"] or 0}
        if load is None or load.take(row["id"], its["id"], **sizes):
            claims.append(Claim(delivery=_whole_delivery(tx, row), event=_whole_event(tx, its, load)))
        else:
            refused.append(row["seq"])
    if refused:
        _put_back(tx, refused)
    return claims


def _whole_delivery(tx: Tx, row: sa.RowMapping) -> Delivery:
    """A delivery, with what was rendered for it."""
    if (row["size"] or 0) <= _READ_AT_ONCE:
        return read_delivery(row)
    rendered = tx.connection.execute(_RENDERED, {"b_id": row["id"]}).scalar_one()
    return read_delivery({**row, "rendered": rendered})


def _whole_event(tx: Tx, row: sa.RowMapping, load: Load | None) -> Event:
    """An event with its body, which is read where it is large and nobody has it in memory."""
    if row["size"] <= _READ_AT_ONCE:
        return read_event(row)
    body = None if load is None else load.find(row["id"])
    if body is None:
        body = tx.connection.execute(_BODY, {"b_id": row["id"]}).scalar_one()
        if load is not None:
            load.keep(row["id"], body)
    return read_event({**row, "body": body})


def _put_back(tx: Tx, seqs: Sequence[int]) -> None:
    """Undo a claim of these, whose attempts did not begin, but for the fence; they go behind the others."""
    tx.connection.execute(
        sa.update(delivery)
        .where(delivery.c.seq.in_(seqs))
        .values(
            owner=None,
            owned_at=None,
            attempts=delivery.c.attempts - 1,
            due_at=tx.now + REFUSED_FOR,
        )
    )


def due(tx: Tx, destinations: Iterable[str]) -> dict[str, float | None]:
    """When the next delivery of each destination is due; None where none waits; suspects aside."""
    name = Each(sa.bindparam("b_names", type_=sa.Text)).table_valued(sa.column("value", sa.Text)).c.value
    # One short look into the index for each, whatever waits there.
    first = sa.select(sa.func.min(delivery.c.due_at)).where(is_waiting, delivery.c.destination == name)
    statement = sa.select(name.label("name"), first.scalar_subquery().label("due_at"))
    rows = tx.connection.execute(statement, {"b_names": json.dumps(list(destinations))})
    return {row.name: row.due_at for row in rows}


def suspects(tx: Tx) -> list[str]:
    """The destinations for which a suspect delivery is due."""
    found = sa.select(delivery.c.destination).where(is_suspect, delivery.c.due_at <= tx.now).distinct()
    return sorted(row.destination for row in tx.connection.execute(found))


def release(
    tx: Tx,
    deliveries: Sequence[Delivery],
    *,
    interrupted: bool,
    due_at: Literal["now"] | None = "now",
) -> None:
    """Give deliveries back; with `due_at=None` they wait until somebody wakes them.

    `interrupted`: the attempt had begun and is recorded, though it does not count; else it never
    began, and its number is free again.
    """
    again, parked = (tx.now, None) if due_at == "now" else (None, tx.now)
    for held in deliveries:
        fenced = _as_claimed(held)
        if interrupted:
            _take_away(tx, fenced, due_at=again, parked_at=parked)
        else:
            tx.connection.execute(
                sa.update(delivery)
                .where(fenced)
                .values(
                    owner=None,
                    owned_at=None,
                    due_at=again,
                    parked_at=parked,
                    attempts=delivery.c.attempts - 1,
                )
            )


def _as_claimed(held: Delivery) -> sa.ColumnElement[bool]:
    """A delivery, if nobody has taken it from its owner since."""
    return sa.and_(delivery.c.id == held.id, delivery.c.owner == held.owner, delivery.c.fence == held.fence)


def wake(tx: Tx, *, before: float, limit: int) -> int:
    """Make due the deliveries that were parked before `before`; returns how many, at most `limit`."""
    parked = (
        sa.select(delivery.c.seq)
        .where(is_parked, delivery.c.parked_at < before, sa.not_(is_behind))
        .order_by(delivery.c.destination)  # as the index of what is parked is, so that nothing else is read
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    woken = sa.update(delivery).where(among(delivery.c.seq, parked)).values(due_at=tx.now, parked_at=None)
    return tx.connection.execute(woken).rowcount


def owners(tx: Tx) -> set[str]:
    """Every node that owns a delivery."""
    rows = tx.connection.execute(sa.select(delivery.c.owner).where(delivery.c.owner.is_not(None)).distinct())
    return {row.owner for row in rows}


def rescue_from(tx: Tx, dead_nodes: Collection[str]) -> list[Rescued]:
    """Take everything from nodes that are gone; the fifth time, a delivery is dead as poison."""
    rescued: list[Rescued] = []
    for node in sorted(dead_nodes):
        poison = sa.and_(delivery.c.owner == node, delivery.c.owners_lost >= POISON_AFTER - 1)
        rescued += _bury(tx, poison)
        rescued += _take_away(tx, delivery.c.owner == node, due_at=tx.now, lost=1)
    return rescued


def lose(tx: Tx, held: Delivery) -> list[Rescued]:
    """Take back a delivery that met a bug of Relay's own, which it may meet again, having been sent.

    The first time it is suspect, so that it is tried alone; the second time it is dead as poison.
    """
    ours = _as_claimed(held)
    if held.is_suspect:
        return _bury(tx, ours)
    return _take_away(tx, ours, due_at=tx.now, lost=SUSPECT_AFTER - held.owners_lost)


def rescue_forgotten(tx: Tx, held: Collection[str], *, after: float = FORGOTTEN_AFTER) -> list[Rescued]:
    """Release what this node owns for a while and does not know of.

    So ends an ambiguous commit, or a handler that was cancelled after its append.
    """
    rows = tx.connection.execute(
        sa.select(delivery.c.id).where(delivery.c.owner == tx.node, delivery.c.owned_at <= tx.now - after)
    )
    forgotten = [row.id for row in rows if row.id not in held]
    if not forgotten:
        return []
    return _take_away(tx, sa.and_(delivery.c.owner == tx.node, delivery.c.id.in_(forgotten)), due_at=tx.now)


def _take_away(
    tx: Tx,
    which: sa.ColumnElement[bool],
    *,
    due_at: float | None,
    parked_at: float | None = None,
    lost: int = 0,
) -> list[Rescued]:
    seqs, attempts, rescued = _interrupt(tx, which, lost=lost, dead=False)
    if attempts:
        tx.connection.execute(
            sa.update(delivery)
            .where(delivery.c.seq.in_(seqs))
            .values(
                owner=None,
                owned_at=None,
                due_at=due_at,
                parked_at=parked_at,
                owners_lost=delivery.c.owners_lost + lost,
            )
        )
        tx.statements.insert_attempt.run(tx.connection, attempts)
    return rescued


def _bury(tx: Tx, which: sa.ColumnElement[bool]) -> list[Rescued]:
    seqs, attempts, rescued = _interrupt(tx, which, lost=1, dead=True)
    if attempts:
        buried = tx.connection.execute(
            sa.update(delivery)
            .where(delivery.c.seq.in_(seqs))
            .values(
                owner=None,
                owned_at=None,
                due_at=None,
                state=DeliveryState.DEAD.value,
                outcome=Outcome.INTERRUPTED.value,
                error=to_wire("poison"),
                reason="poison",
                finished_at=tx.now,
                owners_lost=delivery.c.owners_lost + 1,
            )
            .returning(*WITHOUT_RENDERED)
        ).mappings()
        ends = (Gone.of(read_delivery(row), dead=True) for row in buried.all())
        lanes.leave(tx, [gone for gone in ends if gone is not None])
        tx.statements.insert_attempt.run(tx.connection, attempts)
        for one in rescued:
            tx.sums.backlog[one.destination] -= 1
            tx.sums.errors[one.destination] = "poison"
    return rescued


def _interrupt(
    tx: Tx, which: sa.ColumnElement[bool], *, lost: int, dead: bool
) -> tuple[list[int], list[Row], list[Rescued]]:
    """The rows that are taken, the attempts that end here without an outcome, and whose they are."""
    rows = tx.connection.execute(
        sa.select(delivery).where(which).order_by(delivery.c.seq).with_for_update()
    ).all()
    attempts = [
        attempt_row(
            Attempt(
                delivery_id=row.id,
                number=row.attempts,
                started_at=row.owned_at,
                duration=max(0.0, tx.now - row.owned_at),
                outcome=Outcome.INTERRUPTED,
                node=row.owner,
            ),
            fence=row.fence,
        )
        for row in rows
    ]
    rescued = [
        Rescued(
            delivery_id=row.id,
            event_id=row.event_id,
            source=row.source,
            destination=row.destination,
            owner=row.owner,
            owners_lost=row.owners_lost + lost,
            dead=dead,
        )
        for row in rows
    ]
    return [row.seq for row in rows], attempts, rescued
