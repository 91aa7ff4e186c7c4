"""How much room a journal takes on PostgreSQL, and how much of it is in use."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.schema import event, ledger, metadata

_BESIDE = 1300
"""Bytes that an event takes beside its headers and body: its row, a delivery, an attempt, the indexes."""

_SAMPLE = 200

_on_disk = sa.text(
    "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest(:names) AS name"
).bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)))

_here = sa.select(
    sa.func.sum(sa.case((ledger.c.counter == "accepted", ledger.c.value), else_=-ledger.c.value))
).where(ledger.c.counter.in_(("accepted", "purged_routed", "purged_filtered")))

_last = (
    sa.select(sa.func.length(event.c.body) + sa.func.length(event.c.headers))
    .order_by(event.c.seq.desc())
    .limit(_SAMPLE)
)


def bytes_on_disk(connection: sa.Connection) -> int:
    """The tables' files, their indexes and what is stored out of line."""
    names = [table.name for table in metadata.sorted_tables]
    return int(connection.execute(_on_disk, {"names": names}).scalar_one())


def bytes_in_use(connection: sa.Connection) -> int:
    """The events that are there times what the last ones take: the files do not shrink when rows go."""
    number = int(connection.execute(_here).scalar() or 0)
    sizes = [row[0] for row in connection.execute(_last)]
    return number * (_BESIDE + sum(sizes) // len(sizes)) if sizes else 0
