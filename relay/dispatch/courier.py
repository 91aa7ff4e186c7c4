"""One attempt at one delivery: render, send, decide, settle, tell."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from relay.clock import Clock
from relay.config import Configuration, Destination
from relay.egress import Egress, Result, outbound_headers
from relay.errors import ExpressionError, RelayError
from relay.journal import Journal, Settlement
from relay.model import Attempt, Decision, Delivery, DeliveryState, Event, Outcome, Rendered
from relay.retry import Verdict, decide
from relay.routing import Route, view_of
from relay.telemetry import Telemetry

_STATES = {
    Decision.DELIVERED: DeliveryState.DELIVERED,
    Decision.RETRY: DeliveryState.PENDING,
    Decision.DEAD: DeliveryState.DEAD,
}


class TransformMissing(RelayError):
    """A delivery was planned with a transform, was never tried, and its route has left the file."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, made and not yet written down; times in Unix seconds."""

    started: float
    ended: float
    result: Result
    rendered: Rendered | None


class Courier:
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
        self._sources = configuration.sources
        self._routes: Mapping[tuple[str, str], Route] = {
            (source, route.name): route for source, routes in configuration.routes.items() for route in routes
        }
        self._journal = journal
        self._egress = egress
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng

    async def attempt(self, event: Event, delivery: Delivery, destination: Destination) -> Tried:
        """Try once; whatever goes wrong is in the result, but for a transform that has gone."""
        started = self._clock.now()
        rendered = delivery.rendered
        if self._is_expired(delivery, destination, started):
            result = Result(outcome=Outcome.EXPIRED, error="max_age passed while it waited")
        else:
            try:
                rendered = self._rendered(event, delivery)
                result = await self._send(event, delivery, destination, rendered)
            except ExpressionError as error:
                result = Result(outcome=Outcome.TRANSFORM_ERROR, error=str(error))
            except TransformMissing:
                raise
            except Exception as error:  # noqa: BLE001 - a bug here is retried like a failure there
                self._telemetry.internal_error(where="attempt", error=error, delivery_id=delivery.id)
                result = Result(outcome=Outcome.INTERRUPTED, error=f"internal error: {type(error).__name__}")
        return Tried(started=started, ended=self._clock.now(), result=result, rendered=rendered)

    @staticmethod
    def _is_expired(delivery: Delivery, destination: Destination, now: float) -> bool:
        """Whether it waited too long; a first attempt is made however late it is."""
        return delivery.finished > 0 and now >= delivery.age_from + destination.retry.max_age

    def _rendered(self, event: Event, delivery: Delivery) -> Rendered | None:
        if delivery.rendered is not None:
            return delivery.rendered
        route = self._routes.get((delivery.source, delivery.route))
        if route is None and delivery.transform:
            raise TransformMissing("the route has left the file, and with it the transform; put it back")
        if route is None or route.transform is None:
            return None
        source = self._sources[delivery.source]
        view = view_of(event, source.path.match(event.path) or {}, source.parse)
        return route.transform.render(view, event.headers, source.scheme.mac_headers)

    async def _send(
        self, event: Event, delivery: Delivery, destination: Destination, rendered: Rendered | None
    ) -> Result:
        source = self._sources.get(event.source)
        headers, note = outbound_headers(
            event,
            delivery,
            extra=destination.headers,
            rendered=rendered,
            secret_headers=source.scheme.secret_headers if source else frozenset(),
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

    async def settle(
        self, event: Event, delivery: Delivery, destination: Destination, tried: Tried
    ) -> float | None:
        """Write down how it went and what follows; returns when the next attempt is due, if there is one."""
        result = tried.result
        finished = delivery.finished + (result.outcome is not Outcome.EXPIRED)
        verdict = decide(
            destination.retry,
            outcome=result.outcome,
            status=result.status,
            finished=finished,
            age_from=delivery.age_from,
            now=tried.ended,
            retry_after=result.retry_after,
            random=self._rng.random,
        )
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
                finished=finished,
                rendered=tried.rendered if delivery.rendered is None else None,
                reason=verdict.reason,
            )
        )
        self._tell(event, delivery, attempt, verdict, settled=settled)
        return verdict.due_at if settled else None

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
