"""The ledger: what was counted against what is there, and what the pending deliveries wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa

from relay.journal.reads.destination_state import read_standings
from relay.journal.tables.schema import (
    delivery,
    event,
    in_lane,
    is_behind,
    is_held,
    is_owned,
    is_parked,
    is_suspect,
    is_waiting,
    lane,
    ledger,
)
from relay.journal.values import DeliveryLine, EventLine, Ledger
from relay.model import Standing

Counters = Counter[tuple[str, str, str]]


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


_number = sa.func.count().label("number")
_owned = sa.select(_number).where(is_owned)
_parked = sa.select(delivery.c.destination, _number).where(is_parked).group_by(delivery.c.destination)
_without_route = _parked.where(sa.not_(is_behind))
_behind_older = _parked.where(is_behind)
_behind_a_dead_one = (
    sa.select(lane.c.destination, _number)
    .join(delivery, sa.and_(delivery.c.destination == lane.c.destination, delivery.c.lane == lane.c.key))
    .where(is_held, in_lane)
    .group_by(lane.c.destination)
)


def _reasons(
    connection: sa.Connection, *, now: float | None, destinations: Collection[str] | None
) -> dict[str, int]:
    """What pending deliveries wait for: first what concerns their destination as a whole."""
    known = read_standings(connection)
    without_route = _by_destination(connection, _without_route)
    behind_older = _by_destination(connection, _behind_older)
    lane_held = _by_destination(connection, _behind_a_dead_one)
    waiting: Counter[str] = Counter(owner=connection.execute(_owned).scalar_one())
    for row in _free(connection, now):
        kept_back = _kept_back(row.destination, known.get(row.destination), destinations, now)
        if kept_back is not None:
            waiting[kept_back] += row.number
            continue
        # Suspect or not, only one that is parked or stands behind another has no due time.
        waiting["due_time"] += row.timed - row.due
        waiting["due_now"] += row.due
        waiting["lane"] += row.number - row.timed
        for reason, counts in (
            ("route_gone", without_route),
            ("order_changed", behind_older),
            ("lane_held", lane_held),
        ):
            # Counted over both indexes at once, so taken off with the first.
            number = counts.pop(row.destination, 0)
            waiting[reason] += number
            waiting["lane"] -= number
    return {reason: number for reason, number in waiting.items() if number}


def _by_destination(connection: sa.Connection, statement: sa.Select[str, int]) -> Counter[str]:
    return Counter({row.destination: row.number for row in connection.execute(statement)})


def _free(connection: sa.Connection, now: float | None) -> list[sa.Row[str, int, int, int]]:
    """Per destination: how many nobody owns, how many of them have a due time, how many are due."""
    is_due = sa.false() if now is None else delivery.c.due_at <= now
    figures = sa.select(
        delivery.c.destination,
        _number,
        sa.func.count(delivery.c.due_at).label("timed"),
        sa.func.count(sa.case((is_due, 1))).label("due"),
    ).group_by(delivery.c.destination)
    return [row for which in (is_waiting, is_suspect) for row in connection.execute(figures.where(which))]


def _kept_back(
    name: str, at: Standing | None, destinations: Collection[str] | None, now: float | None
) -> str | None:
    """What keeps a whole destination back, if anything does."""
    if destinations is not None and name not in destinations:
        return "destination_gone"
    if at is None:
        return None
    if at.paused_at is not None:
        return "paused"
    if at.opened_at is not None:
        return "breaker"
    return "held" if at.held_until is not None and now is not None and at.held_until > now else None
