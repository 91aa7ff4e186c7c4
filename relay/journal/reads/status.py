"""The journal's figures: backlog and status, from indexes where that is possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from relay.journal.losses import open_losses
from relay.journal.reads import delivery_rates
from relay.journal.reads.destination_state import read_standings
from relay.journal.tables.rows import maybe_from_wire, to_wire
from relay.journal.tables.schema import (
    ANSWERS_SINCE,
    DEAD,
    delivery,
    destination,
    in_lane,
    is_held,
    is_owned,
    is_suspect,
    is_waiting,
    lane,
    ledger,
    node,
)
from relay.journal.values import (
    DestinationStatus,
    LaneView,
    NodeStatus,
    SourceStatus,
    Status,
)
from relay.model import Delivery, DeliveryState, Standing


def _pending_figures(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Per destination, from one partial index alone."""
    return (
        sa.select(
            delivery.c.destination,
            sa.func.count().label("number"),
            sa.func.min(delivery.c.seq).label("oldest"),
        )
        .where(which)
        .group_by(delivery.c.destination)
    )


_pending = tuple(_pending_figures(which) for which in (is_waiting, is_suspect, is_owned))
_due = tuple(
    sa.select(delivery.c.destination, sa.func.min(delivery.c.due_at).label("due_at"))
    .where(which)
    .group_by(delivery.c.destination)
    for which in (is_waiting, is_suspect)
)
_dead_figures = (
    sa.select(
        delivery.c.destination,
        sa.func.count().label("number"),
        sa.func.min(delivery.c.finished_at).label("since"),
    )
    .where(delivery.c.state == DEAD)
    .group_by(delivery.c.destination)
)

_of_counter = (ledger.c.source, ledger.c.destination, ledger.c.counter)
_lines = sa.select(
    *_of_counter,
    sa.cast(sa.func.sum(ledger.c.value), sa.BigInteger).label("value"),
    sa.func.max(ledger.c.at).label("at"),
).group_by(*_of_counter)

_held_lanes = (
    sa.select(
        lane.c.destination,
        sa.func.count().label("number"),
        sa.func.min(delivery.c.finished_at).label("since"),
    )
    .outerjoin(delivery, delivery.c.id == lane.c.held_by)
    .where(is_held)
    .group_by(lane.c.destination)
)


def pending_by_destination(connection: sa.Connection) -> dict[str, int]:
    """How many deliveries of each destination are pending, from the partial indexes alone."""
    counts: Counter[str] = Counter()
    for statement in _pending:
        for row in connection.execute(statement):
            counts[row.destination] += row.number
    return dict(counts)


def read_status(connection: sa.Connection, *, alive: Collection[str], size: int) -> Status:
    """The journal at a glance; which nodes live and how many bytes it takes, the engine knows."""
    lines = connection.execute(_lines).all()
    return Status(
        destinations=_destinations(connection, lines),
        sources=_sources(lines),
        nodes=read_nodes(connection, alive),
        bytes=size,
        losses=open_losses(connection),
    )


def _destinations(
    connection: sa.Connection, lines: Collection[sa.Row[str, str, str, int, float]]
) -> tuple[DestinationStatus, ...]:
    pending: Counter[str] = Counter()
    oldest: dict[str, int] = {}
    for statement in _pending:
        for row in connection.execute(statement):
            pending[row.destination] += row.number
            oldest[row.destination] = min(row.oldest, oldest.get(row.destination, row.oldest))
    due: dict[str, float] = {}
    for timed in _due:
        for row in connection.execute(timed):
            if row.due_at is not None:
                due[row.destination] = min(row.due_at, due.get(row.destination, row.due_at))
    in_flight = delivery_rates.in_flight(connection)
    dead = {row.destination: row for row in connection.execute(_dead_figures)}
    errors = {row.name: row for row in connection.execute(sa.select(destination))}
    known = read_standings(connection)
    held_lanes = {row.destination: row for row in connection.execute(_held_lanes)}
    delivered: Counter[str] = Counter()
    for line in lines:
        delivered[line.destination] += line.value if line.counter == "delivered" else 0
    names = pending.keys() | dead.keys() | errors.keys() | (delivered.keys() - {""})
    return tuple(
        DestinationStatus(
            name=name,
            pending=pending[name],
            in_flight=in_flight.get(name, 0),
            oldest_at=_planned_at(connection, oldest.get(name)),
            due_at=due.get(name),
            dead=dead[name].number if name in dead else 0,
            delivered=delivered[name],
            last_error=maybe_from_wire(errors[name].last_error) if name in errors else None,
            last_error_at=errors[name].last_error_at if name in errors else None,
            standing=known.get(name, Standing(name=name)),
            held_lanes=held_lanes[name].number if name in held_lanes else 0,
            dead_since=dead[name].since if name in dead else None,
            held_since=held_lanes[name].since if name in held_lanes else None,
        )
        for name in sorted(names)
    )


def view_lane(connection: sa.Connection, one: Delivery) -> LaneView | None:
    """Where a delivery stands in its lane; it is counted, so this is for one at a time."""
    if one.lane is None or one.place is None:
        return None
    ours = sa.and_(delivery.c.destination == one.destination, delivery.c.lane == to_wire(one.lane), in_lane)
    row = connection.execute(
        sa.select(lane.c.head, lane.c.held_by).where(
            lane.c.destination == one.destination, lane.c.key == to_wire(one.lane)
        )
    ).first()
    if row is None or not (one.state is DeliveryState.PENDING or one.id == row.held_by):
        return None
    head = connection.execute(sa.select(delivery.c.id).where(ours, delivery.c.place == row.head)).scalar()
    before = connection.execute(
        sa.select(sa.func.count()).where(ours, delivery.c.place < one.place)
    ).scalar_one()
    behind_a_dead_one = row.held_by not in {None, one.id}
    return LaneView(head_id=head, position=1 + before + behind_a_dead_one, held_by=row.held_by)


def _planned_at(connection: sa.Connection, seq: int | None) -> float | None:
    if seq is None:
        return None
    return connection.execute(sa.select(delivery.c.created_at).where(delivery.c.seq == seq)).scalar()


def _sources(lines: Collection[sa.Row[str, str, str, int, float]]) -> tuple[SourceStatus, ...]:
    of_source = {
        (line.source, line.counter): line for line in lines if line.counter in {"accepted", "rejected"}
    }
    found = []
    for name in sorted({source for source, _ in of_source}):
        accepted, rejected = of_source.get((name, "accepted")), of_source.get((name, "rejected"))
        found.append(
            SourceStatus(
                name=name,
                last_at=None if accepted is None else accepted.at,
                accepted=0 if accepted is None else accepted.value,
                rejected=0 if rejected is None else rejected.value,
                rejected_at=None if rejected is None else rejected.at,
            )
        )
    return tuple(found)


def read_nodes(connection: sa.Connection, alive: Collection[str]) -> tuple[NodeStatus, ...]:
    """The processes that serve, or died serving, the oldest first."""
    rows = connection.execute(sa.select(node).order_by(node.c.started_at))
    return tuple(
        NodeStatus(
            id=row.id,
            started_at=row.started_at,
            version=row.version,
            host=row.host,
            pid=row.pid,
            alive=row.id in alive,
            config=row.config,
            reload=row.reload,
            config_error=maybe_from_wire(row.config_error),
            change=row.change,
            answers=row.tables >= ANSWERS_SINCE,
            beat_at=row.beat_at,
            wall_ahead=row.wall_ahead,
        )
        for row in rows
    )
