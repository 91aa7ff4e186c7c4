"""Who is tried when: slots for newcomers, claims for what waits, and the drain.

Each destination has slots of its own, as many as its `concurrency`. A slot is taken either by an
event that comes in while nothing of the destination is due (its delivery is born owned and tried at
once) or by the destination's claimer, which takes due deliveries from the journal, oldest first. So
a dead or slow destination fills its own slots and nothing else, and what waits costs no memory. What
is in flight costs the memory of its bodies, which all destinations share (`bodies`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial

from relay.config import Configuration, Destination
from relay.dispatch.attempt_runner import AttemptRunner, TransformMissing, Tried
from relay.dispatch.bodies import Bodies, copies_of
from relay.dispatch.claimer import Claimer
from relay.dispatch.destination_states import Standings
from relay.dispatch.follower import Follower
from relay.dispatch.gate import Gate
from relay.dispatch.shares import Shares
from relay.errors import InternalFault, JournalUnavailable
from relay.journal import Claim, Journal
from relay.lease_times import TIMES, Times
from relay.model import Delivery, Event, Standing
from relay.process.clock import Clock
from relay.telemetry import Telemetry

RELEASE_WITHIN = 1.0
"""Seconds that the end waits for a journal that takes no writes; the next process rescues then."""


class Dispatcher:
    """Runs every attempt of this process; `start` begins claiming, `drain` ends it."""

    def __init__(
        self,
        destinations: Iterable[Destination],
        *,
        attempt_runner: AttemptRunner,
        journal: Journal,
        telemetry: Telemetry,
        clock: Clock,
        bodies: Bodies,
        times: Times = TIMES,
    ) -> None:
        self._attempt_runner = attempt_runner
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._standings = Standings(journal=journal, telemetry=telemetry, clock=clock, times=times)
        self._shares = Shares(journal.node, times)
        # A gate stays when its destination has left the file: what is under way still needs it.
        self._gates: dict[str, Gate] = {}
        self._bodies = bodies
        self._claimer = Claimer(
            self._gates,
            self._take,
            bodies=self._bodies,
            standings=self._standings,
            journal=journal,
            telemetry=telemetry,
            clock=clock,
            times=times,
        )
        self._follower = Follower(
            self._gates,
            standings=self._standings,
            shares=self._shares,
            journal=journal,
            telemetry=telemetry,
            clock=clock,
            times=times,
        )
        self._held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._draining = False
        self._abandoned = False
        for destination in destinations:
            self._open_gate(destination)

    # What ingest asks for.

    def reserve(self, destination: str, delivery_id: str, event: Event) -> bool:
        """Take a slot, and room for the body, for an event that is about to be stored.

        False where there is none, or others must go first.
        """
        gate = self._gates[destination]
        if self._draining or not gate.admit(self._clock.now()):
            return False
        if self._bodies.enter(delivery_id, event, copies=copies_of(gate.destination)):
            return True
        gate.leave()
        return False

    def unreserve(self, destination: str, delivery_id: str) -> None:
        """Give back what was taken for an event that was not stored as planned."""
        self._gates[destination].leave()
        self._bodies.leave(delivery_id)

    def nudge(self, destination: str) -> None:
        """Say that one more delivery of this destination waits in the journal."""
        gate = self._gates.get(destination)
        if gate is not None:
            gate.note_waiting()

    def wake(self, destination: str) -> None:
        """Say that any number of deliveries of this destination may be due."""
        gate = self._gates.get(destination)
        if gate is not None:
            gate.look()

    def standing(self, destination: str) -> Standing:
        """What keeps a destination's deliveries back, as far as this process knows."""
        gate = self._gates.get(destination)
        return self._standings.of(destination) if gate is None else gate.standing

    async def run(self, event: Event, deliveries: Sequence[Delivery]) -> None:
        """First attempts of one event's born-owned deliveries, side by side; never raises."""
        for delivery in deliveries:
            self._held[delivery.id] = delivery
        try:
            if len(deliveries) == 1:
                await self._deliver(event, deliveries[0], born=True)
            else:
                await asyncio.gather(*(self._deliver(event, delivery, born=True) for delivery in deliveries))
        except asyncio.CancelledError:
            # The loop ends over an outage, with outcomes unwritten: a rescue follows, and the server
            # that runs this would log a traceback.
            if not self._abandoned:
                raise

    @property
    def held(self) -> frozenset[str]:
        """Ids of the deliveries that this process has in its hands."""
        return frozenset(self._held)

    # Its life.

    async def start(self) -> None:
        """Learn who else lives and which destinations are held back, and begin to claim what is due."""
        with contextlib.suppress(JournalUnavailable):
            await self._follower.look(tell=False)
            await self._claimer.look_first()
        self._started = True
        for gate in self._gates.values():
            self._start_claiming(gate)
        self._spawn(self._claimer.poll_forever())
        self._spawn(self._follower.follow_forever())

    def replace(self, configuration: Configuration) -> None:
        """Take other destinations at once; work in flight keeps the configuration that it started with."""
        for name, gate in self._gates.items():
            if name not in configuration.destinations:
                gate.retire()
        for name, destination in configuration.destinations.items():
            known = self._gates.get(name)
            if known is None:
                self._open_gate(destination)
            else:
                known.adopt(destination, self._clock.now())
                self._start_claiming(known)

    async def drain(self, grace: float) -> int:
        """Claim nothing more, give attempts `grace` seconds, release the rest; how many those are."""
        self._draining = self._claimer.draining = True
        deadline = self._clock.now() + grace
        while self._held and self._clock.now() < deadline:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.02)
        self._abandoned = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        unfinished = tuple(self._held.values())
        if unfinished:
            with contextlib.suppress(JournalUnavailable, TimeoutError):
                async with asyncio.timeout(RELEASE_WITHIN):
                    await self._journal.release(unfinished, interrupted=True)
        return len(unfinished)

    def _open_gate(self, destination: Destination) -> None:
        gate = Gate(destination, self._standings.of(destination.name), self._shares.share)
        self._gates[destination.name] = gate
        self._start_claiming(gate)

    def _start_claiming(self, gate: Gate) -> None:
        if self._started and not self._draining and (gate.claimer is None or gate.claimer.done()):
            gate.claimer = self._spawn(self._claimer.claim_forever(gate))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Delivering.

    def _take(self, claim: Claim) -> None:
        self._held[claim.delivery.id] = claim.delivery
        self._spawn(self._deliver(claim.event, claim.delivery, born=False))

    async def _deliver(self, event: Event, delivery: Delivery, *, born: bool) -> None:
        """One attempt and its end; whatever happens in it, nothing is raised."""
        gate = self._gates[delivery.destination]
        due_at, promoted, in_hand = None, False, False
        try:
            due_at, promoted = await self._try(gate, event, delivery, born=born)
        except TransformMissing as error:
            self._telemetry.route_error(event=event, route=delivery.route, error=str(error))
            with contextlib.suppress(JournalUnavailable):
                await self._journal.release((delivery,), interrupted=False, due_at=None)
                gate.end_probe(delivery.id, used=False)
        except InternalFault:  # reported
            in_hand = not await self._lose(delivery)
        except JournalUnavailable:
            # Closed before the end was written, as at the end of an outage's drain: a rescue follows.
            pass
        except Exception as error:  # noqa: BLE001 - one delivery's bug must not reach its neighbours
            self._telemetry.internal_error(where="deliver", error=error, delivery_id=delivery.id)
            in_hand = not await self._lose(delivery)
        if not in_hand:
            self._held.pop(delivery.id, None)
        self._settled(gate, delivery, due_at, promoted=promoted)
        self._bodies.leave(delivery.id)

    async def _lose(self, delivery: Delivery) -> bool:
        """Count a bug against a delivery that may have been sent, so that it is not sent again and again.

        False where that cannot be written either: it stays in hand, and is not sent while this process lives.
        """
        try:
            for lost in await self._journal.lose(delivery):
                self._telemetry.delivery_rescued(rescued=lost)
        except JournalUnavailable:
            return False
        except Exception as error:  # noqa: BLE001 - as above
            self._telemetry.internal_error(where="deliver", error=error, delivery_id=delivery.id)
            return False
        return True

    async def _try(
        self, gate: Gate, event: Event, delivery: Delivery, *, born: bool
    ) -> tuple[float | None, bool]:
        """The slot is given back before the end is written: it limits requests, not commits."""
        may_begin = partial(self._may_begin, gate, delivery.id, born=born)
        tried: Tried | None = None
        try:
            tried = await self._attempt_runner.attempt(event, delivery, gate, may_begin)
        finally:
            if tried is None:
                gate.leave()
            else:
                gate.release()
        if tried is None:
            return await self._give_back(gate, delivery), False
        if self._abandoned:
            return None, False
        if gate.affects_state(delivery.id, tried.result.outcome):
            await self._note(gate, delivery, tried)
            tried = tried.after(gate.standing, self._clock.now())
        return await self._attempt_runner.settle(event, delivery, tried)

    def _may_begin(self, gate: Gate, delivery_id: str, *, born: bool) -> bool:
        """Whether nothing speaks against an attempt: neither the gate nor what it may not know.

        A node that was silent for long may be taken for dead, and what it holds for free.
        """
        now = self._clock.now()
        return (
            gate.may_begin(delivery_id, now, born=born)
            and self._follower.may_begin(now)
            and self._journal.may_start(now)
        )

    async def _give_back(self, gate: Gate, delivery: Delivery) -> float:
        """Leave an attempt that was not begun, unspent, to whoever may make it; a probe, its turn too."""
        await self._journal.release((delivery,), interrupted=False)
        gate.end_probe(delivery.id, used=False)
        now = self._clock.now()
        gate.rest(now)  # what forbids it may last, and each claim and release is two commits
        return now

    async def _note(self, gate: Gate, delivery: Delivery, tried: Tried) -> None:
        try:
            await self._standings.note(gate, delivery, tried)
        except Exception as error:  # noqa: BLE001 - the outcome must be written whatever follows from it
            self._telemetry.internal_error(where="standings", error=error, delivery_id=delivery.id)

    def _settled(self, gate: Gate, delivery: Delivery, due_at: float | None, *, promoted: bool) -> None:
        gate.end_probe(delivery.id)
        if delivery.is_suspect:
            self._claimer.suspect_in_flight = False
        if promoted:
            gate.note_waiting()
        if due_at is not None:
            gate.note_due(due_at)
