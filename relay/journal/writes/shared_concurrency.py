"""Permits of a destination whose limit cannot be divided among the nodes: the rows that they own.

A row is owned from its claim to its settlement, its release or its rescue, and so is the permit; nothing
else has to be kept in step with that.
"""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.rows import to_wire
from relay.journal.tables.schema import delivery, is_owned
from relay.journal.writes.advisory_locks import try_lock
from relay.journal.writes.tx import Tx


def left(tx: Tx, name: str, room: int) -> int:
    """How many of so many permits other nodes have not taken; none while another asks.

    The rest of the transaction is alone in claiming for this destination. It never waits to be so: whoever
    waits for one destination while it has locked others could wait for ever.
    """
    if not try_lock(tx.connection, lock_of(name)):
        return 0
    taken = sa.select(sa.func.count()).where(
        is_owned, delivery.c.destination == sa.bindparam("b_name"), delivery.c.owner != sa.bindparam("b_node")
    )
    others: int = tx.connection.execute(taken, {"b_name": name, "b_node": tx.node}).scalar_one()
    return room - others


def lock_of(name: str) -> bytes:
    """The name of a destination's lock."""
    return b"permits\0" + to_wire(name)
