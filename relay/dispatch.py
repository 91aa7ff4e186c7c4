"""From the journal to the downstreams: claim, attempt, decide, settle.

Each destination has a lane of its own with as many slots as its `concurrency`. A slot is taken
either by an event that comes in while nothing of the destination waits (its delivery is born owned
and tried at once) or by the lane's claimer, which takes due deliveries from the journal, oldest
first. So a dead or slow destination fills its own slots and nothing else, and what waits costs
no memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.clock import Clock
from relay.config import Configuration, Destination
from relay.egress import Egress, Result, outbound_headers
from relay.errors import ExpressionError
from relay.expressions import View
from relay.journal import Claim, Journal, Settlement
from relay.model import Attempt, Decision, Delivery, DeliveryState, Event, Outcome, Rendered
from relay.retry import Verdict, decide
from relay.routing import Route
from relay.telemetry import Telemetry

POLL = 1.0
"""Seconds between looks into the journal for what others (the command line, a rescue) made due."""

_STATES = {
    Decision.DELIVERED: DeliveryState.DELIVERED,
    Decision.RETRY: DeliveryState.PENDING,
    Decision.DEAD: DeliveryState.DEAD,
}


@dataclass(slots=True)
class _Lane:
    """One destination: its slots, and what is known of the deliveries that wait for them.

    `waiting` counts those that this process stored without a slot; `unsure` says that there may be
    others. A claim takes no more slots than it needs, so that newcomers are born owned meanwhile:
    one that took them all would make every newcomer wait for the next claim, and so for ever.
    """

    destination: Destination
    in_flight: int = 0
    waiting: int = 0
    unsure: bool = True
    next_due: float | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def free(self) -> int:
        return self.destination.concurrency - self.in_flight

    def is_due(self, now: float) -> bool:
        if self.next_due is not None and self.next_due <= now:
            self.unsure, self.next_due = True, None
        return self.unsure or self.waiting > 0

    def begin_claim(self) -> int:
        """Take slots for a claim: all that are free, or as many as are known to be wanted."""
        asked = self.free() if self.unsure else min(self.free(), self.waiting)
        self.waiting = 0 if self.unsure else self.waiting - asked
        self.in_flight += asked
        return asked

    def note_due(self, due_at: float) -> None:
        if self.next_due is None or due_at < self.next_due:
            self.next_due = due_at
            self.wake.set()


class _TransformMissing(Exception):  # noqa: N818 - a signal between two functions, not an error
    """The delivery was planned with a transform, and its route has left the file."""


class Dispatcher:
    """Runs every attempt of this process; `start` begins claiming, `drain` ends it."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        journal: Journal,
        egress: Egress,
        telemetry: Telemetry,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._configuration = configuration
        self._routes: Mapping[tuple[str, str], Route] = {
            (source, route.name): route
            for source, routes in configuration.routes.items()
            for route in routes
        }
        self._journal = journal
        self._egress = egress
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._lanes = {name: _Lane(d) for name, d in configuration.destinations.items()}
        self._held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspect_in_flight = False
        self._draining = False
        self._abandoned = False

    # What ingest asks for.

    def reserve(self, destination: str) -> bool:
        """Take a slot for an event that is about to be stored; False where others must go first."""
        lane = self._lanes[destination]
        if self._draining or lane.free() <= 0 or lane.is_due(self._clock.now()):
            return False
        lane.in_flight += 1
        return True

    def unreserve(self, destination: str) -> None:
        """Give back a slot whose event was not stored as planned."""
        self._release_slot(self._lanes[destination])

    def nudge(self, destination: str) -> None:
        """Say that one more delivery of this destination waits in the journal."""
        lane = self._lanes.get(destination)
        if lane is not None:
            lane.waiting += 1
            lane.wake.set()

    async def run(self, event: Event, deliveries: Sequence[Delivery]) -> None:
        """First attempts of one event's born-owned deliveries, side by side; never raises."""
        self._held.update((delivery.id, delivery) for delivery in deliveries)
        if len(deliveries) == 1:
            await self._deliver(event, deliveries[0])
        else:
            await asyncio.gather(*(self._deliver(event, delivery) for delivery in deliveries))

    @property
    def held(self) -> frozenset[str]:
        """Ids of the deliveries that this process has in its hands."""
        return frozenset(self._held)

    @property
    def in_flight(self) -> int:
        """How many attempts are under way or about to be settled."""
        return len(self._held)

    # The life of the dispatcher.

    def start(self) -> None:
        """Begin to claim what is due."""
        for lane in self._lanes.values():
            self._spawn(self._claim_forever(lane))
        self._spawn(self._poll_forever())

    async def drain(self, grace: float) -> None:
        """Claim nothing more, give what is in flight `grace` seconds, release the rest at once."""
        self._draining = True
        for lane in self._lanes.values():
            lane.wake.set()
        deadline = self._clock.now() + grace
        while self._held and self._clock.now() < deadline:
            await asyncio.sleep(0.02)
        self._abandoned = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._held:
            await self._journal.release(tuple(self._held.values()), interrupted=True)

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Claiming.

    async def _claim_forever(self, lane: _Lane) -> None:
        while not self._draining:
            await self._wait_for_work(lane)
            if self._draining:
                return
            unsure, asked = lane.unsure, lane.begin_claim()
            lane.unsure = False
            claims: Sequence[Claim] = ()
            try:
                claims = await self._journal.claim(lane.destination.name, asked, suspect=False)
            except Exception as error:  # noqa: BLE001 - a lane must outlive whatever its claim met
                self._telemetry.internal_error(where="claim", error=error)
                lane.unsure = True
                await asyncio.sleep(POLL)
                continue
            finally:
                lane.in_flight -= asked - len(claims)
            for claim in claims:
                self._take(claim)
            if unsure and len(claims) == asked:
                lane.unsure = True
            elif unsure:
                await self._look(lane)

    async def _wait_for_work(self, lane: _Lane) -> None:
        while not self._draining:
            lane.wake.clear()
            now = self._clock.now()
            due = lane.is_due(now)
            if due and lane.free() > 0:
                return
            pause = None if due or lane.next_due is None else lane.next_due - now
            try:
                await asyncio.wait_for(lane.wake.wait(), pause)
            except TimeoutError:
                continue

    def _take(self, claim: Claim) -> None:
        self._held[claim.delivery.id] = claim.delivery
        self._spawn(self._deliver(claim.event, claim.delivery))

    async def _look(self, lane: _Lane) -> None:
        """Learn when the lane's next waiting delivery is due."""
        name = lane.destination.name
        due = (await self._journal.due([name])).get(name)
        if due is not None:
            lane.note_due(due)

    async def _poll_forever(self) -> None:
        names = tuple(self._lanes)
        while not self._draining:
            await asyncio.sleep(POLL)
            try:
                for name, due in (await self._journal.due(names)).items():
                    if due is not None:
                        self._lanes[name].note_due(due)
                await self._claim_suspect()
            except Exception as error:  # noqa: BLE001 - the poll must outlive a journal that is away
                self._telemetry.internal_error(where="poll", error=error)

    async def _claim_suspect(self) -> None:
        """Try one delivery that lost its owner twice; one at a time, since it may kill the process."""
        for name, lane in self._lanes.items():
            if self._suspect_in_flight or self._draining:
                return
            if lane.free() <= 0:
                continue
            for claim in await self._journal.claim(name, 1, suspect=True):
                lane.in_flight += 1
                self._suspect_in_flight = True
                self._take(claim)

    # One attempt.

    async def _deliver(self, event: Event, delivery: Delivery) -> None:
        """Attempt, decide, settle, tell; whatever happens, the slot is given back."""
        lane = self._lanes[delivery.destination]
        try:
            await self._attempt(lane, event, delivery)
        except _TransformMissing:
            await self._journal.release((delivery,), interrupted=False, due_at=None)
        except Exception as error:  # noqa: BLE001 - one delivery's bug must not reach its neighbours
            self._telemetry.internal_error(where="deliver", error=error, delivery_id=delivery.id)
        finally:
            self._held.pop(delivery.id, None)
            if delivery.owners_lost > 1:
                self._suspect_in_flight = False
            self._release_slot(lane)

    def _release_slot(self, lane: _Lane) -> None:
        lane.in_flight -= 1
        if lane.waiting or lane.unsure:
            lane.wake.set()

    async def _attempt(self, lane: _Lane, event: Event, delivery: Delivery) -> None:
        started = self._clock.now()
        rendered = delivery.rendered
        policy = lane.destination.retry
        if delivery.attempts > 1 and started >= delivery.age_from + policy.max_age:
            result = Result(outcome=Outcome.EXPIRED, error="max_age passed while it waited")
        else:
            try:
                rendered = self._render(event, delivery)
                result = await self._send(lane.destination, event, delivery, rendered)
            except ExpressionError as error:
                result = Result(outcome=Outcome.TRANSFORM_ERROR, error=str(error))
            except _TransformMissing:
                raise
            except Exception as error:  # noqa: BLE001 - a bug here is retried like a failure there
                self._telemetry.internal_error(where="attempt", error=error, delivery_id=delivery.id)
                result = Result(outcome=Outcome.INTERRUPTED, error=f"internal error: {type(error).__name__}")
        if self._abandoned:
            return
        await self._settle(lane, event, delivery, rendered, result, started)

    def _render(self, event: Event, delivery: Delivery) -> Rendered | None:
        if delivery.rendered is not None:
            return delivery.rendered
        route = self._routes.get((delivery.source, delivery.route))
        if route is None or route.transform is None:
            if delivery.transform and route is None:
                raise _TransformMissing
            return None
        source = self._configuration.sources[delivery.source]
        view = View(
            source=event.source,
            event_id=event.id,
            received_at=event.received_at,
            method=event.method,
            path=event.path,
            query=event.query,
            headers=event.headers,
            body=event.body,
            placeholders=source.path.match(event.path) or {},
            parse_limit=source.parse,
        )
        view.type = event.type
        view.provider_id = event.provider_id
        return route.transform.render(view, event.headers, source.scheme.mac_headers)

    async def _send(
        self, destination: Destination, event: Event, delivery: Delivery, rendered: Rendered | None
    ) -> Result:
        source = self._configuration.sources.get(event.source)
        headers, note = outbound_headers(
            event,
            delivery,
            extra=destination.headers,
            rendered=rendered,
            secret_headers=source.scheme.secret_headers if source else frozenset(),
            traceparent=None,
        )
        result = await self._egress.attempt(
            method=destination.method or event.method,
            url=destination.url,
            headers=headers,
            body=event.body if rendered is None else rendered.body,
            timeout=destination.timeout,
            success=destination.success,
        )
        return result if note is None else replace(result, note="; ".join(filter(None, (note, result.note))))

    async def _settle(
        self,
        lane: _Lane,
        event: Event,
        delivery: Delivery,
        rendered: Rendered | None,
        result: Result,
        started: float,
    ) -> None:
        now = self._clock.now()
        finished = delivery.finished + (result.outcome is not Outcome.EXPIRED)
        verdict = decide(
            lane.destination.retry,
            outcome=result.outcome,
            status=result.status,
            finished=finished,
            age_from=delivery.age_from,
            now=now,
            retry_after=result.retry_after,
            random=self._rng.random,
        )
        attempt = Attempt(
            delivery_id=delivery.id,
            number=delivery.attempts,
            started_at=started,
            duration=now - started,
            outcome=result.outcome,
            node=self._journal.node,
            status=result.status,
            error=result.error,
            note=result.note,
            response=result.response,
        )
        settled = await self._journal.settle(
            Settlement(
                delivery=delivery,
                attempt=attempt,
                state=_STATES[verdict.decision],
                due_at=verdict.due_at,
                finished=finished,
                rendered=rendered if delivery.rendered is None else None,
                reason=verdict.reason,
            )
        )
        if verdict.due_at is not None:
            lane.note_due(verdict.due_at)
        self._tell(event, delivery, attempt, verdict, settled=settled)

    def _tell(
        self, event: Event, delivery: Delivery, attempt: Attempt, verdict: Verdict, *, settled: bool
    ) -> None:
        if not settled:
            self._telemetry.delivery_fenced(event=event, delivery=delivery, attempt=attempt)
            return
        self._telemetry.attempt_finished(
            event=event,
            delivery=delivery,
            attempt=attempt,
            decision=verdict.decision,
            next_attempt_at=verdict.due_at,
        )
        if verdict.decision is Decision.DEAD:
            self._telemetry.delivery_dead(
                event=event, delivery=delivery, attempt=attempt, reason=verdict.reason
            )
