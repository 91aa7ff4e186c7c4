"""How a process shows that it lives, and the rescue of what dead processes owned."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import sqlalchemy as sa

from relay.journal.tables.schema import node
from relay.journal.values import Rescued
from relay.journal.writes import claim
from relay.journal.writes.tx import Tx


class Lease(Protocol):
    """How a process shows that it lives, and learns which others do not; for the writer's thread."""

    @property
    def slot(self) -> int:
        """Which rows of the ledger are this process's own."""

    def register(self, connection: sa.Connection, now: float) -> None:
        """Make the row of a process that begins to serve."""

    def is_due(self, now: float) -> bool:
        """Whether it is to be renewed with the next transaction."""

    def renew(self, tx: Tx) -> None:
        """Renew it in this transaction, before anything else in it."""

    def note(self, work: Callable[[Tx], None]) -> None:
        """What was last written into the row, to be done again where it must be made again."""

    def renewal_committed(self) -> None:
        """The transaction that made or renewed it is committed."""

    def may_start(self, now: float) -> bool:
        """Whether it is fresh enough to begin an attempt; called from any thread."""

    def dead_nodes(self, tx: Tx, owners: Collection[str]) -> set[str]:
        """Which of the nodes that have a row, and of these owners, live no more; their rows are locked."""

    def living(self, tx: Tx) -> set[str]:
        """Which nodes live, this one among them: those that may still begin attempts."""

    def remove_files(self, nodes: Collection[str]) -> None:
        """Remove what dead nodes left beside the tables."""

    def end(self) -> None:
        """End it in good order."""


def rescue_dead(tx: Tx, *, lease: Lease, held: Collection[str]) -> list[Rescued]:
    """Take everything from dead nodes and what this one forgot.

    An owner without a row in `node` is dead too: it was a command, or its row went with a purge.
    """
    dead = lease.dead_nodes(tx, claim.owners(tx))
    rescued = claim.rescue_from(tx, dead) + claim.rescue_forgotten(tx, held)
    if dead:
        tx.connection.execute(sa.delete(node).where(node.c.id.in_(dead)))
        lease.remove_files(dead)
    # Commands and other nodes plan and settle deliveries too, in processes of their own.
    tx.sums.recount = True
    return rescued
