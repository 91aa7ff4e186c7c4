"""One attempt at one delivery: render, send, decide, settle, tell."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from relay.breaker import reached_out
from relay.config import Configuration, Destination, Source
from relay.dispatch.gate import Gate
from relay.egress import AttemptInput, Egress, Result
from relay.errors import ExpressionError, JournalUnavailable, RelayError
from relay.expressions import View
from relay.journal import Journal, Settlement
from relay.model import Attempt, Decision, Delivery, DeliveryState, Event, Outcome, Rendered, Standing
from relay.process.clock import Clock
from relay.retry import Verdict, decide
from relay.routing import Route, view_of
from relay.telemetry import Telemetry

_STATES = {
    Decision.DELIVERED: DeliveryState.DELIVERED,
    Decision.RETRY: DeliveryState.PENDING,
    Decision.DEAD: DeliveryState.DEAD,
}
_PARSE_LIMIT = 1024 * 1024
"""Bytes of a body that expressions parse where the event's source says nothing, as that of an alert."""


class TransformMissing(RelayError):
    """A delivery was planned with a transform, was never tried, and its route has left the file."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, made, judged and not yet written down; times in Unix seconds.

    `finished` counts it, where it counts.
    """

    started: float
    ended: float
    result: Result
    rendered: Rendered | None
    finished: int
    verdict: Verdict

    def after(self, standing: Standing, now: float) -> Tried:
        """The same, due now where an operator has let the destination go on since it ended."""
        if self.verdict.due_at is None or (standing.resumed_at or 0.0) <= self.ended:
            return self
        return replace(self, verdict=replace(self.verdict, due_at=now))


class AttemptRunner:
    """Carries deliveries out, one attempt a call; knows the routes for their transforms."""

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
        self.replace(configuration)
        self._journal = journal
        self._egress = egress
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng

    def replace(self, configuration: Configuration) -> None:
        """Take another configuration; attempts in flight keep the configuration that they started with."""
        self._sources: Mapping[str, Source] = configuration.sources
        self._routes: Mapping[tuple[str, str], Route] = {
            (source, route.name): route for source, routes in configuration.routes.items() for route in routes
        }

    async def attempt(
        self, event: Event, delivery: Delivery, gate: Gate, may_begin: Callable[[], bool]
    ) -> Tried | None:
        """Try once; whatever goes wrong is in the result, but for a transform that has gone.

        None where it may not begin, of which `may_begin` is asked again where something was waited for.
        """
        if not may_begin():
            return None
        started, destination = self._clock.now(), gate.destination
        rendered = delivery.rendered
        if _is_expired(delivery, destination, gate.standing, started):
            result = Result(outcome=Outcome.EXPIRED, error="max_age passed while it waited")
        else:
            try:
                if rendered is None and self._is_transformed(delivery):
                    rendered = await self._rendered(event, delivery)
                    if not may_begin():
                        return None
                result = await self._send(event, delivery, destination, rendered)
            except ExpressionError as error:
                result = Result(outcome=Outcome.TRANSFORM_ERROR, error=str(error))
            except TransformMissing:
                raise
            except JournalUnavailable:  # before anything was sent
                return None
            except Exception as error:  # noqa: BLE001 - a bug here is retried like a failure there
                self._telemetry.internal_error(where="attempt", error=error, delivery_id=delivery.id)
                result = Result(outcome=Outcome.INTERRUPTED, error=f"internal error: {type(error).__name__}")
        ended = self._clock.now()
        finished = delivery.finished + (result.outcome is not Outcome.EXPIRED)
        verdict = decide(
            destination.retry,
            outcome=result.outcome,
            status=result.status,
            finished=finished,
            age_from=_age_from(delivery, gate.standing, ended),
            now=ended,
            retry_after=result.retry_after,
            random=self._rng.random,
        )
        return Tried(
            started=started,
            ended=ended,
            result=result,
            rendered=rendered,
            finished=delivery.finished if verdict.pauses else finished,
            verdict=verdict,
        )

    def _is_transformed(self, delivery: Delivery) -> bool:
        route = self._routes.get((delivery.source, delivery.route))
        return delivery.transform if route is None else route.transform is not None

    async def _rendered(self, event: Event, delivery: Delivery) -> Rendered | None:
        # What went out as it came goes out so again, even where its route has got a transform since.
        if await self._went_out(delivery):
            return None
        route = self._routes.get((delivery.source, delivery.route))
        if route is None or route.transform is None:
            raise TransformMissing("the route has left the file, and with it the transform; put it back")
        return route.transform.render(
            self._view(event), event.headers, self._sources[delivery.source].scheme.mac_headers
        )

    async def _went_out(self, delivery: Delivery) -> bool:
        """Whether an attempt before this one was sent; the delivery itself knows its latest end alone."""
        if delivery.attempts <= 1:
            return False
        return any(map(reached_out, await self._journal.outcomes(delivery.id)))

    def _view(self, event: Event) -> View:
        source = self._sources.get(event.source)
        if source is None:
            return view_of(event, {}, _PARSE_LIMIT)
        return view_of(event, source.path.match(event.path) or {}, source.parse)

    async def _send(
        self, event: Event, delivery: Delivery, destination: Destination, rendered: Rendered | None
    ) -> Result:
        source = self._sources.get(event.source)
        attempt_input = AttemptInput(
            event=event,
            delivery=delivery,
            rendered=rendered,
            secret_headers=frozenset() if source is None else source.scheme.secret_headers,
            view=partial(self._view, event),
        )
        return await self._egress.send(attempt_input, destination)

    async def settle(self, event: Event, delivery: Delivery, tried: Tried) -> tuple[float | None, bool]:
        """Write down how it went and what follows.

        Returns when the next attempt is due, if there is one, and whether the next delivery of its
        order lane is due now.
        """
        result, verdict = tried.result, tried.verdict
        attempt = Attempt(
            delivery_id=delivery.id,
            number=delivery.attempts,
            started_at=tried.started,
            duration=tried.ended - tried.started,
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
                finished=tried.finished,
                rendered=tried.rendered if delivery.rendered is None else None,
                reason=verdict.reason,
            )
        )
        self._tell(event, delivery, attempt, verdict, settled=settled.done)
        return verdict.due_at if settled.done else None, settled.promoted

    def _tell(
        self, event: Event, delivery: Delivery, attempt: Attempt, verdict: Verdict, *, settled: bool
    ) -> None:
        told = self._telemetry
        if not settled:
            told.delivery_fenced(event=event, delivery=delivery, attempt=attempt)
            return
        told.attempt_finished(
            event=event,
            delivery=delivery,
            attempt=attempt,
            decision=verdict.decision,
            next_attempt_at=verdict.due_at,
        )
        if verdict.decision is Decision.DEAD:
            told.delivery_dead(event=event, delivery=delivery, attempt=attempt, reason=verdict.reason)


def _age_from(delivery: Delivery, standing: Standing, now: float) -> float:
    """When the delivery's age began, had the pauses since not been; by the clock that `now` is by."""
    paused = 0.0 if standing.paused_at is None else max(0.0, now - standing.paused_at)
    return delivery.age_from + (standing.paused_for + paused)


def _is_expired(delivery: Delivery, destination: Destination, standing: Standing, now: float) -> bool:
    """Whether it waited too long; a first attempt is made however late it is."""
    return delivery.finished > 0 and now >= _age_from(delivery, standing, now) + destination.retry.max_age
