"""What the writer carries from batch to batch: the backlog, and what is written only now and then."""

from __future__ import annotations

import time

from relay.journal.writes.tx import Sums, Tx

_ERRORS_EVERY = 1.0
"""Seconds between writes of the destinations' last errors: in each batch, all nodes whose attempts at one
destination fail would wait for its row."""

_RECOUNTS = 10_000
"""Pending deliveries that may be counted afresh a second: at a million, which takes 0.1 s, every 100 s."""


class Tally:
    """For the writer's thread; the backlog is replaced or changed by it alone, and read by any."""

    def __init__(self) -> None:
        self.backlog: dict[str, int] = {}
        self._errors: dict[str, str] = {}
        self._errors_at = 0.0
        self._recount_at = 0.0

    def is_due(self, *, last: bool) -> bool:
        """Whether something is to be written though there is no job; `last`: there is no later batch."""
        return bool(self._errors) and self._errors_are_due(last=last)

    def finish(self, tx: Tx, *, last: bool) -> None:
        """Write the sums of a batch, those that others wait for or that cost most only where it is time."""
        tx.count()
        tx.sums.errors = self._errors | tx.sums.errors
        if self._errors_are_due(last=last):
            tx.tell_errors()
        if tx.sums.recount and time.monotonic() >= self._recount_at:
            tx.count_again()

    def keep(self, sums: Sums) -> None:
        """Take over what a batch has added up, once it is committed."""
        now = time.monotonic()
        self._errors = {} if sums.told else sums.errors
        if sums.told:
            self._errors_at = now + _ERRORS_EVERY
        if sums.counted is not None:
            self.backlog = sums.counted
            self._recount_at = now + sum(sums.counted.values()) / _RECOUNTS
            return
        for name, change in sums.backlog.items():
            self.backlog[name] = self.backlog.get(name, 0) + change

    def _errors_are_due(self, *, last: bool) -> bool:
        return last or time.monotonic() >= self._errors_at
