"""How fast destinations take deliveries, and how many attempts are under way; both from an index."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from relay.journal.tables.schema import DELIVERED, delivery, is_done, is_owned

SPAN = 60.0
"""Seconds over which deliveries are counted."""

MOST = 10_000
"""Deliveries that are counted; where there are more, over fewer seconds: it takes 10 ms at most."""


def delivered_per_second(connection: sa.Connection, now: float, *, most: int = MOST) -> dict[str, float]:
    """How many deliveries each destination took a second lately; those that took none are left out."""
    latest = (
        sa.select(
            delivery.c.destination, delivery.c.finished_at, (delivery.c.state == DELIVERED).label("took")
        )
        .where(is_done, delivery.c.finished_at > now - SPAN)
        .order_by(delivery.c.finished_at.desc())
        .limit(most)
        .subquery()
    )
    number = sa.func.count().label("number")
    statement = sa.select(
        latest.c.destination,
        number,
        sa.func.sum(sa.case((latest.c.took, 1), else_=0)).label("took"),
        sa.func.min(latest.c.finished_at).label("since"),
    ).group_by(latest.c.destination)
    rows = connection.execute(statement).all()
    is_cut = sum(row.number for row in rows) >= most
    span = now - min(row.since for row in rows) if is_cut else SPAN
    return {row.destination: row.took / max(span, 1.0) for row in rows if row.took}


def owned(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """How many deliveries of each destination each node owns, by destination and node."""
    columns = (delivery.c.destination, delivery.c.owner)
    rows = connection.execute(
        sa.select(*columns, sa.func.count().label("number")).where(is_owned).group_by(*columns)
    )
    return {(row.destination, row.owner): row.number for row in rows}


def in_flight(connection: sa.Connection) -> dict[str, int]:
    """How many deliveries of each destination are owned; those of none are left out."""
    numbers = Counter[str]()
    for (name, _), number in owned(connection).items():
        numbers[name] += number
    return dict(numbers)
