"""What keeps destinations back, as it stands, and the time that their deliveries' ages go by."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.rows import read_standing
from relay.journal.tables.schema import delivery, destination
from relay.model import Standing

_STANDING = sa.select(destination).where(destination.c.name == sa.bindparam("b_name"))


def read_standings(connection: sa.Connection) -> dict[str, Standing]:
    """What is known of every destination that has a row."""
    rows = connection.execute(sa.select(destination)).mappings()
    return {row["name"]: read_standing(row) for row in rows}


def standing_of(connection: sa.Connection, name: str, *, lock: bool = False) -> Standing:
    """What is known of one destination; with `lock` nobody else changes it before this transaction ends."""
    statement = _STANDING.with_for_update() if lock else _STANDING
    row = connection.execute(statement, {"b_name": name}).mappings().first()
    return Standing(name=name) if row is None else read_standing(row)


def own_time(now: float) -> sa.ColumnElement[float]:
    """The time of the clock of a delivery's destination, which stops while it is paused (`Standing.time`)."""
    moment = sa.literal(now, sa.Double)
    time = (
        sa.select(sa.func.coalesce(destination.c.paused_at, moment) - destination.c.paused_for)
        .where(destination.c.name == delivery.c.destination)
        .correlate(delivery)
        .scalar_subquery()
    )
    return sa.func.coalesce(time, moment)
