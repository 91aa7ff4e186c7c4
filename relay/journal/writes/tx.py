"""One write transaction: its connection, its time, and the sums that are written once at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa

from relay.journal.reads.status import pending_by_destination
from relay.journal.tables.rows import to_wire
from relay.journal.tables.statements import Statements

BATCH = 500
"""Rows that one transaction of an operator or a chore changes, so that senders do not wait behind it."""


@dataclass(slots=True)
class Sums:
    """What a batch adds up in memory: ledger counters, backlog, the last error of a destination.

    told     the errors are written
    recount  others may have changed the backlog
    counted  the backlog, where it was counted afresh
    """

    ledger: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    backlog: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    told: bool = False
    recount: bool = False
    counted: dict[str, int] | None = None

    def add(self, other: Sums) -> None:
        """Take over what another has added up."""
        self.ledger.update(other.ledger)
        self.backlog.update(other.backlog)
        self.errors.update(other.errors)
        self.recount = self.recount or other.recount


@dataclass(frozen=True, slots=True)
class Tx:
    """What a statement needs to know."""

    connection: sa.Connection
    statements: Statements
    node: str
    now: float
    slot: int = 0
    sums: Sums = field(default_factory=Sums)

    def part(self) -> Tx:
        """The same transaction with sums of its own, to be added when the part has succeeded."""
        return Tx(self.connection, self.statements, self.node, self.now, self.slot)

    def count(self) -> None:
        """Write the counters; in one order, so that two nodes cannot wait for each other."""
        counters = sorted((key, value) for key, value in self.sums.ledger.items() if value)
        if counters:
            self.statements.count.run(
                self.connection, [(*key, self.slot, value, self.now) for key, value in counters]
            )

    def tell_errors(self) -> None:
        """Write the last error of each destination."""
        if self.sums.errors:
            self.statements.last_error.run(
                self.connection,
                [(name, to_wire(error), self.now) for name, error in sorted(self.sums.errors.items())],
            )
            self.sums.told = True

    def count_again(self) -> None:
        """Count the backlog afresh."""
        self.sums.counted = pending_by_destination(self.connection)


class Mismatch(Exception):
    """Not every row of a statement for many did what it should: each must be done by itself."""
