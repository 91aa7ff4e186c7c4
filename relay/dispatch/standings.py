"""Keeps gates and journal of one mind about pauses, breakers and holds, and tells each change once.

What an attempt shows is written to the journal, from which other processes and the next start learn
it; what others did there is learnt by asking again every second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from relay.clock import Clock
from relay.dispatch.courier import Tried
from relay.dispatch.gate import Gate
from relay.errors import JournalUnavailable
from relay.journal import Journal
from relay.limits import is_failure
from relay.model import Delivery, Standing
from relay.telemetry import Telemetry

BURY_EVERY = 10.0
"""Seconds between looks for what grew too old behind an open breaker."""

_BURY_BATCH = 500
_BURY_BATCHES = 10


class Standings:
    """The standing of every destination that has one, as the journal had it last."""

    def __init__(self, *, journal: Journal, telemetry: Telemetry, clock: Clock) -> None:
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._known: Mapping[str, Standing] = {}
        self._bury_at: dict[str, float] = {}

    def of(self, name: str) -> Standing:
        """The standing of any destination, in the configuration or not."""
        return self._known.get(name) or Standing(name=name)

    async def read(self, gates: Iterable[Gate], *, tell: bool) -> None:
        """Learn all standings anew; with `tell`, say what others changed. Raises JournalUnavailable."""
        self._known = await self._journal.standings()
        for gate in gates:
            if not gate.turning:  # else the answer may be older than what is on its way
                self._learn(gate, self.of(gate.destination.name), tell=tell)

    async def note(self, gate: Gate, delivery: Delivery, tried: Tried) -> None:
        """Draw from an attempt what it means for its destination; never raises JournalUnavailable.

        What cannot be written now will be shown by the next attempt as well.
        """
        result, verdict = tried.result, tried.verdict
        is_probe = gate.end_probe(delivery.id)
        opens = not verdict.pauses and gate.count(result.outcome, result.status)
        with contextlib.suppress(JournalUnavailable):
            if verdict.holds_until is not None:
                await self._hold(gate, verdict.holds_until)
            if verdict.pauses:
                await self._pause(gate, reason=f"HTTP {result.status}")
            if opens:
                await self._open(gate, error=result.error or result.outcome.value)
            if is_probe and is_failure(result.outcome, result.status) is False:
                await self._close(gate)

    async def tend(self, gate: Gate) -> None:
        """Close a breaker that the file no longer has; bury what is too old behind one that stays open."""
        if gate.standing.opened_at is not None and gate.breaker.policy is None:
            await self._close(gate)
        await self._bury(gate)

    async def _close(self, gate: Gate) -> None:
        """Whatever waits is due now."""
        await self._journal.close_breaker(gate.destination.name)
        self._learn(gate, replace(gate.standing, opened_at=None, probe_at=None), tell=True)

    async def _bury(self, gate: Gate) -> None:
        name, now = gate.destination.name, self._clock.now()
        standing = gate.standing
        if standing.opened_at is None or standing.paused_at is not None or now < self._bury_at.get(name, 0.0):
            return
        before = standing.time(now) - gate.destination.retry.max_age
        for _ in range(_BURY_BATCHES):
            dead = await self._journal.expire(name, before=before, limit=_BURY_BATCH)
            for delivery in dead:
                self._telemetry.delivery_dead(event=None, delivery=delivery, attempt=None, reason="expired")
            if len(dead) < _BURY_BATCH:
                self._bury_at[name] = now + BURY_EVERY
                return

    async def _hold(self, gate: Gate, until: float) -> None:
        if until > gate.held_until:
            gate.hold(until)
            await self._journal.hold(gate.destination.name, until=until)

    async def _pause(self, gate: Gate, *, reason: str) -> None:
        if gate.standing.paused_at is not None:
            return
        with _turning(gate):
            await self._journal.pause(gate.destination.name, reason=reason)
            now = self._clock.now()
            if gate.standing.paused_at is None:
                self._learn(gate, replace(gate.standing, paused_at=now, pause_reason=reason), tell=True)

    async def _open(self, gate: Gate, *, error: str) -> None:
        policy = gate.breaker.policy
        if policy is None:
            return
        probe_at = self._clock.now() + policy.cooldown
        with _turning(gate):
            await self._journal.open_breaker(gate.destination.name, probe_at=probe_at)
            standing = gate.opened(self._clock.now(), probe_at=probe_at)
            self._learn(gate, standing, tell=True, failures=gate.breaker.failures, error=error)

    def _learn(
        self, gate: Gate, new: Standing, *, tell: bool, failures: int | None = None, error: str | None = None
    ) -> None:
        old = gate.standing
        gate.learn(new)
        if not tell:
            return
        name, told, now = gate.destination.name, self._telemetry, self._clock.now()
        if old.opened_at is None and new.opened_at is not None:
            told.breaker_opened(destination=name, failures=failures, error=error)
        if old.opened_at is not None and new.opened_at is None:
            told.breaker_closed(destination=name, seconds=max(0.0, now - old.opened_at))
        if old.paused_at is None and new.paused_at is not None:
            told.destination_paused(destination=name, reason=new.pause_reason)
        if old.paused_at is not None and new.paused_at is None:
            told.destination_resumed(destination=name, seconds=max(0.0, now - old.paused_at))


@contextlib.contextmanager
def _turning(gate: Gate) -> Iterator[None]:
    """Let nothing pass while a change is on its way into the journal."""
    gate.turn(1)
    try:
        yield
    finally:
        gate.turn(-1)
