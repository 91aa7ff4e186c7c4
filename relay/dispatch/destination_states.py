"""Keeps gates and journal of one mind about pauses, breakers and holds, and tells each change once.

What an attempt shows is decided by the journal's row and written there, in one transaction; the gate goes by
the answer, as it does by what others wrote. A row counts its changes, so that an answer which is older than
what the gate knows changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping

from relay.breaker import is_failure, uses_probe
from relay.dispatch.attempt_runner import Tried
from relay.dispatch.gate import Gate
from relay.journal import Journal, StateChange
from relay.lease_times import Times
from relay.model import Delivery, Standing
from relay.process.clock import Clock
from relay.telemetry import Telemetry

_EXPIRE_BATCH = 500
_EXPIRE_BATCHES = 10


class Standings:
    """The standing of every destination that has one, as the journal had it last."""

    def __init__(self, *, journal: Journal, telemetry: Telemetry, clock: Clock, times: Times) -> None:
        self._expire_every = times.expire
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._known: Mapping[str, Standing] = {}
        self._expire_at: dict[str, float] = {}

    def of(self, name: str) -> Standing:
        """The standing of any destination, in the configuration or not."""
        return self._known.get(name) or Standing(name=name)

    def take(
        self,
        standings: Mapping[str, Standing],
        gates: Iterable[Gate],
        *,
        known: Mapping[str, int],
        tell: bool,
    ) -> None:
        """Go by what the journal has; with `tell`, say what others changed.

        `known` are the versions that the gates knew before the journal was asked.
        """
        self._known = standings
        for gate in gates:
            name = gate.destination.name
            self._apply(gate, self.of(name), known=known.get(name), tell=tell)

    async def note(self, gate: Gate, delivery: Delivery, tried: Tried) -> None:
        """Write down what an attempt means for its destination, as soon as the journal takes it.

        Until then nothing passes the gate. Raises JournalUnavailable where the journal is closed before.
        """
        result, verdict, name = tried.result, tried.verdict, gate.destination.name
        opening = gate.end_probe(delivery.id, used=uses_probe(result.outcome))
        opens = not verdict.pauses and gate.count(result.outcome, result.status)
        # Whatever this process knows of holds and pauses, an operator may have ended them a moment ago.
        if verdict.holds_until is not None:
            await self._change(
                gate, self._journal.hold(name, until=verdict.holds_until, asked_at=tried.ended)
            )
        if verdict.pauses:
            reason = f"HTTP {result.status}"
            await self._change(gate, self._journal.pause(name, reason=reason, asked_at=tried.ended))
        policy = gate.breaker.policy
        if opens and policy is not None:
            probe_at = self._clock.now() + policy.cooldown
            await self._change(
                gate,
                self._journal.open_breaker(name, probe_at=probe_at),
                failures=gate.breaker.failures,
                error=result.error or result.outcome.value,
            )
        if opening is not None and is_failure(result.outcome, result.status) is False:
            await self._change(gate, self._journal.close_breaker(name, opened_at=opening))

    async def tend(self, gate: Gate) -> None:
        """Close a breaker that the file no longer has; expire what is too old behind one that stays open."""
        if gate.standing.opened_at is not None and gate.breaker.policy is None:
            await self._change(gate, self._journal.close_breaker(gate.destination.name))
        await self._expire(gate)

    async def _expire(self, gate: Gate) -> None:
        name, now = gate.destination.name, self._clock.now()
        standing = gate.standing
        is_due = now >= self._expire_at.get(name, 0.0)
        if standing.opened_at is None or standing.paused_at is not None or not is_due:
            return
        before = standing.time(now) - gate.destination.retry.max_age
        for _ in range(_EXPIRE_BATCHES):
            dead = await self._journal.expire(name, before=before, limit=_EXPIRE_BATCH)
            for delivery in dead:
                self._telemetry.delivery_dead(event=None, delivery=delivery, attempt=None, reason="expired")
            if len(dead) < _EXPIRE_BATCH:
                self._expire_at[name] = now + self._expire_every
                return

    async def _change(
        self,
        gate: Gate,
        written: Awaitable[StateChange],
        *,
        failures: int | None = None,
        error: str | None = None,
    ) -> None:
        with gate.change():
            answer = await written
            self._apply(gate, answer.standing, tell=True, failures=failures, error=error)

    def _apply(
        self,
        gate: Gate,
        new: Standing,
        *,
        tell: bool,
        known: int | None = None,
        failures: int | None = None,
        error: str | None = None,
    ) -> None:
        old = gate.standing
        if not gate.apply(new, known=known) or not tell:
            return
        name, told, now = gate.destination.name, self._telemetry, self._clock.now()
        if old.opened_at is not None and old.opened_at != new.opened_at:
            told.breaker_closed(destination=name, seconds=max(0.0, now - old.opened_at))
        if new.opened_at is not None and old.opened_at != new.opened_at:
            told.breaker_opened(destination=name, failures=failures, error=error)
        if old.paused_at is not None and old.paused_at != new.paused_at:
            told.destination_resumed(destination=name, seconds=max(0.0, now - old.paused_at))
        if new.paused_at is not None and old.paused_at != new.paused_at:
            told.destination_paused(destination=name, reason=new.pause_reason)
