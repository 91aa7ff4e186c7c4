"""Whose deliveries are free again because their owner is gone."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from relay.journal import claim
from relay.journal.engine import Lease
from relay.journal.schema import node
from relay.journal.tx import Tx
from relay.journal.values import Rescued


def rescue_dead(tx: Tx, *, lease: Lease, held: Collection[str]) -> list[Rescued]:
    """Take everything from dead nodes and what this one forgot.

    An owner without a row in `node` is dead too: it was a command, or its row went with a purge.
    """
    dead = lease.gone(tx, claim.owners(tx))
    rescued = claim.rescue_from(tx, dead) + claim.rescue_forgotten(tx, held)
    if dead:
        tx.connection.execute(sa.delete(node).where(node.c.id.in_(dead)))
        lease.bury(dead)
    # Commands and other nodes plan and settle deliveries too, in processes of their own.
    tx.sums.recount = True
    return rescued
