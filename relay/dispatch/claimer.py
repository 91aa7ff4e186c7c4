"""Takes from the journal what is due, per destination, as much as its gate lets pass.

Nothing here turns in circles: a claimer sleeps until something is due and may pass (its due time,
the next token, the end of a hold, the next probe), or until its gate's bell rings.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from relay.dispatch.bodies import Bodies, Load, copies_of
from relay.dispatch.destination_states import Standings
from relay.dispatch.gate import Gate
from relay.errors import JournalUnavailable
from relay.journal import Claim, Journal
from relay.lease_times import Times
from relay.process.clock import Clock
from relay.telemetry import Telemetry

_SHORTEST_SLEEP = 0.001
"""Seconds; the event loop's own timers are no finer, and may end early by less."""

_AT_ONCE = 32
"""Claims under way at once, so that senders do not wait behind those of a thousand destinations."""

_LOOKS_AT_ONCE = 500
"""Destinations that are looked at in one turn of the journal's writer, for the same reason."""


class Claimer:
    """Claims for the gates that it is shown; `take` gets what it claimed."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        take: Callable[[Claim], None],
        *,
        bodies: Bodies,
        standings: Standings,
        journal: Journal,
        telemetry: Telemetry,
        clock: Clock,
        times: Times,
    ) -> None:
        self._poll_every = times.poll
        self.suspect_in_flight = False
        self.draining = False
        self._gates = gates
        self._take = take
        self._bodies = bodies
        self._standings = standings
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

    # What is due.

    async def look_first(self) -> None:
        """Learn what is due for whom, so that at the start only those claim who have something to claim."""
        gates = tuple(self._gates.values())
        for start in range(0, len(gates), _LOOKS_AT_ONCE):
            due = await self._journal.due(
                [one.destination.name for one in gates[start : start + _LOOKS_AT_ONCE]]
            )
            for name, due_at in due.items():
                self._gates[name].looked(due_at, self._clock.now())

    async def claim_forever(self, gate: Gate) -> None:
        """Claim for one destination until it leaves the configuration or the drain begins."""
        while not (self.draining or gate.retired):
            try:
                if await self._wait_for_work(gate):
                    async with self._turns:
                        # A pause, a reload or another node may have come while it waited for its turn.
                        if self._may_claim(gate):
                            await self._claim(gate)
            except JournalUnavailable:
                gate.look()
                await asyncio.sleep(self._poll_every)
            except Exception as error:  # noqa: BLE001 - a gate must outlive whatever its claim met
                self._telemetry.internal_error(where="claim", error=error)
                gate.look()
                await asyncio.sleep(self._poll_every)

    async def _wait_for_work(self, gate: Gate) -> bool:
        """Sleep until there may be something to claim; False where no more is to be claimed."""
        while not (self.draining or gate.retired):
            gate.bell.clear()
            if self._may_claim(gate):
                return True
            now = self._clock.now()
            at = gate.next_look(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if at is None else max(_SHORTEST_SLEEP, at - now)):
                    await gate.bell.wait()
        return False

    def _may_claim(self, gate: Gate) -> bool:
        """Whether something may be due for which there is a slot, and nothing keeps it back."""
        now = self._clock.now()
        at = gate.next_look(now)
        return not (self.draining or gate.retired) and at is not None and at <= now

    async def _claim(self, gate: Gate) -> None:
        asked = gate.begin_claim(self._clock.now())
        claims: Sequence[Claim] = ()
        knows_less = False
        load = self._load(gate)
        try:
            if asked:
                claims = await self._ask(gate, asked, load)
        finally:
            if not claims:
                load.give_back()
            knows_less = gate.end_claim(asked=asked, got=len(claims))
        for claim in claims:
            self._take(claim)
        if knows_less or load.is_short or (gate.turns and len(claims) < asked):
            name = gate.destination.name
            due = (await self._journal.due((name,))).get(name)
            now = self._clock.now()
            if due is not None and due <= now and not claims:
                gate.rest(now)
            self._note_oldest(gate, due)

    def _load(self, gate: Gate) -> Load:
        return self._bodies.load(gate.destination.name, copies=copies_of(gate.destination))

    async def _ask(self, gate: Gate, asked: int, load: Load) -> Sequence[Claim]:
        name, policy = gate.destination.name, gate.breaker.policy
        room = gate.room(asked)
        if gate.standing.opened_at is None:
            return await self._journal.claim(name, asked, room=room, load=load)
        if policy is None:
            return ()
        next_probe_at = self._clock.now() + policy.cooldown
        suspect = not self.suspect_in_flight
        probe = await self._journal.probe(
            name, next_probe_at=next_probe_at, unused=gate.unused, suspect=suspect, room=room, load=load
        )
        gate.apply(probe.standing)
        for claim in probe.claims:
            gate.begin_probe(claim.delivery.id, probe.standing)
            self.suspect_in_flight = self.suspect_in_flight or claim.delivery.is_suspect
        return probe.claims

    def _note_oldest(self, gate: Gate, due: float | None) -> None:
        if due is not None:
            gate.slots.note_oldest(due, self._clock.now(), patience=self._poll_every)
            gate.bell.set()

    # What others did.

    async def poll_forever(self) -> None:
        """Look at the journal every second, until the drain."""
        while not self.draining:
            await asyncio.sleep(self._poll_every)
            try:
                await self._poll()
            except JournalUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the poll must outlive whatever it met
                self._telemetry.internal_error(where="poll", error=error)

    async def _poll(self) -> None:
        gates = [gate for gate in self._gates.values() if not gate.retired]
        awake = [gate for gate in gates if gate.standing.paused_at is None]
        for start in range(0, len(awake), _LOOKS_AT_ONCE):
            await self._look_at(awake[start : start + _LOOKS_AT_ONCE])
        await self._claim_suspect({gate.destination.name: gate for gate in awake})
        for gate in gates:
            await self._standings.tend(gate)

    async def _look_at(self, gates: Iterable[Gate]) -> None:
        for name, due in (await self._journal.due([gate.destination.name for gate in gates])).items():
            gate = self._gates[name]
            if due is None and gate.standing.opened_at is not None:
                gate.look()  # only a suspect may be left to probe with, of which `due` says nothing
            self._note_oldest(gate, due)

    async def _claim_suspect(self, gates: Mapping[str, Gate]) -> None:
        """Try one delivery that lost its owner twice; one at a time, since it may kill the process."""
        if self.suspect_in_flight:
            return
        for name in await self._journal.suspects():
            if self.suspect_in_flight or self.draining:
                return
            gate = gates.get(name)
            if gate is None or not gate.admit_before_others(self._clock.now()):
                continue
            claims: Sequence[Claim] = ()
            load = self._load(gate)
            try:
                claims = await self._journal.claim(name, 1, suspect=True, room=gate.room(1), load=load)
            finally:
                if not claims:
                    load.give_back()
                    gate.leave()
            for claim in claims:
                self.suspect_in_flight = True
                self._take(claim)
