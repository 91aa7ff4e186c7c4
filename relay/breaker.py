"""When a circuit breaker opens: so many failures of a destination in a row, and what a failure is."""

from __future__ import annotations

from dataclasses import dataclass

from relay.model import Outcome

_SERVER_ERRORS = 500
_TOO_MANY_REQUESTS = 429
_SILENT = frozenset({Outcome.TRANSFORM_ERROR, Outcome.EXPIRED, Outcome.BACKLOG_FULL, Outcome.INTERRUPTED})
"""Outcomes of attempts that never reached out, or whose end nobody saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """So many `failures` one after another open the breaker; then one probe every `cooldown` seconds."""

    failures: int = 10
    cooldown: float = 30.0


@dataclass(slots=True)
class Breaker:
    """Counts failures that follow one another."""

    policy: BreakerPolicy | None
    failures: int = 0

    def count(self, failed: bool | None) -> bool:  # noqa: FBT001 - the answer of `is_failure`
        """Count an attempt; True where it is time to open. What says nothing changes nothing."""
        if failed is None:
            return False
        self.failures = self.failures + 1 if failed else 0
        return self.policy is not None and self.failures >= self.policy.failures


def is_failure(outcome: Outcome, status: int | None) -> bool | None:
    """Whether an attempt speaks against its destination; None where it says nothing of it.

    Without an answer it does, and so do 5xx and 429. Any other answer shows that somebody is there.
    """
    if outcome in _SILENT:
        return None
    if outcome is Outcome.HTTP_STATUS:
        return status is None or status >= _SERVER_ERRORS or status == _TOO_MANY_REQUESTS
    return outcome is not Outcome.DELIVERED


def uses_probe(outcome: Outcome) -> bool:
    """Whether an attempt that ended so may have reached its destination, and so was a probe of it."""
    return reached_out(outcome) or outcome is Outcome.INTERRUPTED


def reached_out(outcome: Outcome) -> bool:
    """Whether an attempt that ended so was sent to its destination."""
    return outcome not in _SILENT
