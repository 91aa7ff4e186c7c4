"""Who is tried when: slots for newcomers, claims for what waits, and the drain.

Each destination has slots of its own, as many as its `concurrency`. A slot is taken either by an
event that comes in while nothing of the destination is due (its delivery is born owned and tried at
once) or by the destination's claimer, which takes due deliveries from the journal, oldest first. So
a dead or slow destination fills its own slots and nothing else, and what waits costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from relay.clock import Clock
from relay.config import Destination
from relay.dispatch.courier import Courier, TransformMissing
from relay.errors import JournalUnavailable
from relay.journal import Claim, Journal
from relay.limits import Slots
from relay.model import Delivery, Event
from relay.telemetry import Telemetry

POLL = 1.0
"""Seconds between looks into the journal for what others (the command line, a rescue) made due."""

RELEASE_WITHIN = 1.0
"""Seconds that the end waits for a journal that takes no writes; the next process rescues then."""


@dataclass(slots=True)
class _Lane:
    """One destination on its way: its slots, and the bell that wakes its claimer."""

    destination: Destination
    slots: Slots
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Dispatcher:
    """Runs every attempt of this process; `start` begins claiming, `drain` ends it."""

    def __init__(
        self,
        destinations: Iterable[Destination],
        *,
        courier: Courier,
        journal: Journal,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._courier = courier
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._lanes = {one.name: _Lane(one, Slots(one.concurrency)) for one in destinations}
        self._held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspect_in_flight = False
        self._draining = False
        self._abandoned = False

    # What ingest asks for.

    def reserve(self, destination: str) -> bool:
        """Take a slot for an event that is about to be stored; False where others must go first."""
        return not self._draining and self._lanes[destination].slots.reserve(self._clock.now())

    def unreserve(self, destination: str) -> None:
        """Give back a slot whose event was not stored as planned."""
        self._free_slot(self._lanes[destination])

    def nudge(self, destination: str) -> None:
        """Say that one more delivery of this destination waits in the journal."""
        lane = self._lanes.get(destination)
        if lane is not None:
            lane.slots.waiting += 1
            lane.wake.set()

    async def run(self, event: Event, deliveries: Sequence[Delivery]) -> None:
        """First attempts of one event's born-owned deliveries, side by side; never raises."""
        for delivery in deliveries:
            self._held[delivery.id] = delivery
        if len(deliveries) == 1:
            await self._deliver(event, deliveries[0])
        else:
            await asyncio.gather(*(self._deliver(event, delivery) for delivery in deliveries))

    @property
    def held(self) -> frozenset[str]:
        """Ids of the deliveries that this process has in its hands."""
        return frozenset(self._held)

    # Its life.

    def start(self) -> None:
        """Begin to claim what is due."""
        for lane in self._lanes.values():
            self._spawn(self._claim_forever(lane))
        self._spawn(self._poll_forever())

    async def drain(self, grace: float) -> int:
        """Claim nothing more, give attempts `grace` seconds, release the rest; how many those are."""
        self._draining = True
        deadline = self._clock.now() + grace
        while self._held and self._clock.now() < deadline:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.02)
        self._abandoned = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        unfinished = tuple(self._held.values())
        if unfinished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_WITHIN):
                    await self._journal.release(unfinished, interrupted=True)
        return len(unfinished)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Claiming.

    async def _claim_forever(self, lane: _Lane) -> None:
        while not self._draining:
            await self._wait_for_work(lane)
            try:
                await self._claim(lane)
            except JournalUnavailable:
                lane.slots.unsure = True
                await asyncio.sleep(POLL)
            except Exception as error:  # noqa: BLE001 - a lane must outlive whatever its claim met
                self._telemetry.internal_error(where="claim", error=error)
                lane.slots.unsure = True
                await asyncio.sleep(POLL)

    async def _wait_for_work(self, lane: _Lane) -> None:
        while True:
            lane.wake.clear()
            now = self._clock.now()
            is_due = lane.slots.is_due(now)
            if is_due and lane.slots.free > 0:
                return
            next_due = lane.slots.next_due
            pause = None if is_due or next_due is None else next_due - now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lane.wake.wait(), pause)

    async def _claim(self, lane: _Lane) -> None:
        unsure, asked = lane.slots.unsure, lane.slots.begin_claim()
        claims: Sequence[Claim] = ()
        try:
            claims = await self._journal.claim(lane.destination.name, asked)
        finally:
            lane.slots.end_claim(asked=asked, got=len(claims))
        for claim in claims:
            self._take(claim)
        if unsure and len(claims) == asked:
            lane.slots.unsure = True
        elif unsure:
            await self._look((lane.destination.name,))

    def _take(self, claim: Claim) -> None:
        self._held[claim.delivery.id] = claim.delivery
        self._spawn(self._deliver(claim.event, claim.delivery))

    async def _look(self, names: Iterable[str]) -> None:
        """Learn from the journal when the next delivery of each destination is due."""
        for name, due in (await self._journal.due(names)).items():
            if due is not None:
                lane = self._lanes[name]
                lane.slots.note_oldest(due, self._clock.now(), patience=POLL)
                lane.wake.set()

    async def _poll_forever(self) -> None:
        while not self._draining:
            await asyncio.sleep(POLL)
            try:
                await self._look(tuple(self._lanes))
                await self._claim_suspect()
            except JournalUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the poll must outlive whatever it met
                self._telemetry.internal_error(where="poll", error=error)

    async def _claim_suspect(self) -> None:
        """Try one delivery that lost its owner twice; one at a time, since it may kill the process."""
        for name, lane in self._lanes.items():
            if self._suspect_in_flight or self._draining:
                return
            if lane.slots.free <= 0:
                continue
            for claim in await self._journal.claim(name, 1, suspect=True):
                lane.slots.in_flight += 1
                self._suspect_in_flight = True
                self._take(claim)

    # Delivering.

    async def _deliver(self, event: Event, delivery: Delivery) -> None:
        """One attempt and its end; whatever happens in it, nothing is raised.

        The slot is given back before the end is written: it limits requests, not commits.
        """
        lane = self._lanes[delivery.destination]
        try:
            try:
                tried = await self._courier.attempt(event, delivery, lane.destination)
            finally:
                self._free_slot(lane)
            if not self._abandoned:
                due_at = await self._courier.settle(event, delivery, lane.destination, tried)
                self._settled(lane, delivery, due_at)
        except TransformMissing as error:
            self._telemetry.route_error(event=event, route=delivery.route, error=str(error))
            await self._journal.release((delivery,), interrupted=False, due_at=None)
            self._settled(lane, delivery, None)
        except JournalUnavailable:
            # Closed before the end was written, as at the end of an outage's drain: a rescue follows.
            self._settled(lane, delivery, None)
        except Exception as error:  # noqa: BLE001 - one delivery's bug must not reach its neighbours
            self._telemetry.internal_error(where="deliver", error=error, delivery_id=delivery.id)
            self._settled(lane, delivery, None)

    def _settled(self, lane: _Lane, delivery: Delivery, due_at: float | None) -> None:
        self._held.pop(delivery.id, None)
        if delivery.is_suspect:
            self._suspect_in_flight = False
        if due_at is not None:
            lane.slots.note_due(due_at)
            lane.wake.set()

    def _free_slot(self, lane: _Lane) -> None:
        lane.slots.release()
        if lane.slots.waiting or lane.slots.unsure:
            lane.wake.set()
