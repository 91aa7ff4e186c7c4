"""The times by which the processes of a service watch each other and look at the journal, in one value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """All in seconds. Every process on a journal must go by the same, so tests alone change them.

    tick            between two looks of a writer that has nothing to write, at its row or its file
    renew_row       between two renewals of a node's row on PostgreSQL
    row_stale       without a renewal, a node starts no attempt, and must watch the others anew
    row_divides     without a renewal, a node takes no part of the limits: it has begun nothing for a while
    row_silent      without a renewal, a node is gone, and its deliveries are rescued
    file_absent     without its file on SQLite, a node that has a row is gone
    look_stale      after its last look at the journal, a node begins no attempt before it has looked again
    older_look      in which a node of an older Relay, which does not say so, has looked
    clocks_drift    by which two steady clocks differ over all these, and far more
    poll            between two looks at what commands and other nodes have changed
    rescue          between two looks for deliveries whose owner is gone
    first_look      after the start, before anything is called late: what waited for the start is sent
    look            between two looks at what is late, at the disk and at who pins the journal
    purge           between two purges
    audit           between two audits of the ledger
    expire          between two looks for deliveries that grew too old behind an open breaker
    worker_silent   without an answer, a worker is hung, and is killed
    """

    tick: float = 1.0
    renew_row: float = 10.0
    row_stale: float = 20.0
    row_divides: float = 25.0
    row_silent: float = 30.0
    file_absent: float = 5.0
    look_stale: float = 20.0
    older_look: float = 10.0
    clocks_drift: float = 1.0
    poll: float = 1.0
    rescue: float = 10.0
    first_look: float = 2.0
    look: float = 10.0
    purge: float = 60.0
    audit: float = 60.0
    expire: float = 10.0
    worker_silent: float = 30.0

    def __post_init__(self) -> None:
        if self.renew_row + self.tick >= self.row_stale or self.file_absent < 4 * self.tick:
            raise ValueError("a node looks at its row and its file well before others take it for dead")
        if not 2 * self.renew_row <= self.row_stale < self.row_divides < self.row_silent:
            raise ValueError("a row is renewed twice before it is stale, and stale before the node is gone")
        if not self.poll < self.look_stale < self.look_stale + self.clocks_drift <= self.row_divides:
            raise ValueError("a node begins nothing more before the others divide the limits without it")

    def scaled(self, factor: float) -> Times:
        """The same, each `factor` times as long."""
        return replace(self, **{one.name: getattr(self, one.name) * factor for one in fields(self)})


TIMES: Final = Times()
"""What a service goes by."""
