"""The journal's figures: backlog, status and the ledger, from indexes where that is possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from relay.journal.codec import maybe_from_wire
from relay.journal.engine import beside, life_path
from relay.journal.files import is_alive
from relay.journal.schema import (
    DEAD,
    delivery,
    destination,
    event,
    is_owned,
    is_suspect,
    is_waiting,
    ledger,
    node,
)
from relay.journal.values import (
    DeliveryLine,
    DestinationStatus,
    EventLine,
    Ledger,
    NodeStatus,
    SourceStatus,
    Status,
)


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
_in_flight = _pending[-1]
_due = tuple(
    sa.select(delivery.c.destination, sa.func.min(delivery.c.due_at).label("due_at"))
    .where(which)
    .group_by(delivery.c.destination)
    for which in (is_waiting, is_suspect)
)
_dead_figures = (
    sa.select(delivery.c.destination, sa.func.count().label("number"))
    .where(delivery.c.state == DEAD)
    .group_by(delivery.c.destination)
)

Counters = Counter[tuple[str, str, str]]


def pending_by_destination(connection: sa.Connection) -> dict[str, int]:
    """How many deliveries of each destination are pending, from the partial indexes alone."""
    counts: Counter[str] = Counter()
    for statement in _pending:
        for row in connection.execute(statement):
            counts[row.destination] += row.number
    return dict(counts)


def read_status(connection: sa.Connection, path: Path) -> Status:
    """The journal at a glance."""
    lines = connection.execute(sa.select(ledger)).all()
    return Status(
        destinations=_destinations(connection, lines),
        sources=_sources(lines),
        nodes=_nodes(connection, path),
        bytes=sum(file.stat().st_size for file in (path, beside(path, "-wal")) if file.exists()),
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
    in_flight = {row.destination: row.number for row in connection.execute(_in_flight)}
    dead = {row.destination: row.number for row in connection.execute(_dead_figures)}
    errors = {row.name: row for row in connection.execute(sa.select(destination))}
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
            dead=dead.get(name, 0),
            delivered=delivered[name],
            last_error=maybe_from_wire(errors[name].last_error) if name in errors else None,
            last_error_at=errors[name].last_error_at if name in errors else None,
        )
        for name in sorted(names)
    )


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
            )
        )
    return tuple(found)


def _nodes(connection: sa.Connection, path: Path) -> tuple[NodeStatus, ...]:
    rows = connection.execute(sa.select(node).order_by(node.c.started_at))
    return tuple(
        NodeStatus(
            id=row.id,
            started_at=row.started_at,
            version=row.version,
            host=row.host,
            pid=row.pid,
            alive=is_alive(life_path(path, row.id)),
        )
        for row in rows
    )


def read_ledger(
    connection: sa.Connection, *, now: float | None, destinations: Collection[str] | None
) -> Ledger:
    """The conservation table: running counters on the left, rows and what was purged on the right."""
    counters: Counters = Counter()
    for row in connection.execute(sa.select(ledger)):
        counters[row.source, row.destination, row.counter] += row.value
    return Ledger(
        events=_event_lines(connection, counters),
        deliveries=_delivery_lines(connection, counters),
        waiting=_reasons(connection, now=now, destinations=destinations),
    )


def _event_lines(connection: sa.Connection, counters: Counters) -> tuple[EventLine, ...]:
    number = sa.func.count().label("number")
    rows: Counter[tuple[str, str]] = Counter()
    statement = sa.select(event.c.source, event.c.state, number).group_by(event.c.source, event.c.state)
    for row in connection.execute(statement):
        rows[row.source, row.state] = row.number
    names = {source for source, _ in rows} | {key[0] for key in counters if key[2] == "accepted"}
    return tuple(
        EventLine(
            source=name,
            accepted=counters[name, "", "accepted"],
            routed=rows[name, "routed"] + counters[name, "", "purged_routed"],
            filtered=rows[name, "filtered"] + counters[name, "", "purged_filtered"],
        )
        for name in sorted(names)
    )


def _delivery_lines(connection: sa.Connection, counters: Counters) -> tuple[DeliveryLine, ...]:
    number = sa.func.count().label("number")
    columns = (delivery.c.source, delivery.c.destination, delivery.c.state)
    rows: Counters = Counter()
    for row in connection.execute(sa.select(*columns, number).group_by(*columns)):
        rows[row.source, row.destination, row.state] = row.number
    names = {key[:2] for key in rows} | {key[:2] for key in counters if key[1]}

    def ended(name: tuple[str, str], state: str) -> int:
        return rows[(*name, state)] + counters[(*name, f"purged_{state}")]

    return tuple(
        DeliveryLine(
            source=name[0],
            destination=name[1],
            planned=counters[(*name, "planned")],
            replayed=counters[(*name, "replayed")],
            pending=rows[(*name, "pending")],
            delivered=ended(name, "delivered"),
            dead=ended(name, "dead"),
            cancelled=ended(name, "cancelled"),
        )
        for name in sorted(names)
    )


def _reasons(
    connection: sa.Connection, *, now: float | None, destinations: Collection[str] | None
) -> dict[str, int]:
    """What pending deliveries wait for."""
    waiting: Counter[str] = Counter()
    for row in connection.execute(_in_flight):
        waiting["owner"] += row.number
    limit = sa.literal(float("inf") if now is None else now)
    figures = sa.select(
        delivery.c.destination,
        sa.func.count().label("number"),
        sa.func.count(delivery.c.due_at).label("timed"),
        sa.func.count(sa.case((delivery.c.due_at <= limit, 1))).label("due"),
    ).group_by(delivery.c.destination)
    free = [row for which in (is_waiting, is_suspect) for row in connection.execute(figures.where(which))]
    for row in free:
        if destinations is not None and row.destination not in destinations:
            waiting["destination_gone"] += row.number
        else:
            waiting["route_gone"] += row.number - row.timed
            waiting["due_time"] += row.timed - (0 if now is None else row.due)
            waiting["due_now"] += 0 if now is None else row.due
    return {reason: number for reason, number in waiting.items() if number}
