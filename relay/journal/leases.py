"""Whose deliveries are free again because their owner is gone."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from relay.journal import claim
from relay.journal.engine import SqliteEngine
from relay.journal.schema import node
from relay.journal.tx import Tx
from relay.journal.values import Rescued


def rescue_dead(tx: Tx, *, engine: SqliteEngine, held: Collection[str]) -> list[Rescued]:
    """Take everything from dead nodes and what this one forgot.

    An owner without a row in `node` is dead too: it was a command, or its row went with a purge.
    """
    known = {row.id for row in tx.connection.execute(sa.select(node.c.id))}
    others = (known | claim.owners(tx)) - {tx.node}
    dead = {other for other in others if not engine.is_alive(other)}
    rescued = claim.rescue_from(tx, dead) + claim.rescue_forgotten(tx, held)
    if dead:
        tx.connection.execute(sa.delete(node).where(node.c.id.in_(dead)))
        for other in dead:
            engine.bury(other)
    # Commands plan and retry deliveries too, in processes of their own.
    tx.sums.recount = True
    return rescued
