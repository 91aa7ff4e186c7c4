"""One attempt at one delivery: render, send, decide, settle, tell."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

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
        self.abandoned = False

    def abandon(self) -> None:
        """Settle nothing from now on: what is unfinished is about to be released for others."""
        self.abandoned = True

    async def deliver(self, event: Event, delivery: Delivery, destination: Destination) -> float | None:
        """Try once, and settle; returns when the next attempt is due, if there is to be one."""
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
        if self.abandoned:
            return None
        return await self._settle(
            event, delivery, destination, rendered=rendered, result=result, started=started
        )

    @staticmethod
    def _is_expired(delivery: Delivery, destination: Destination, now: float) -> bool:
        """Whether it waited too long; a first attempt is made however late it is."""
        return delivery.attempts > 1 and now >= delivery.age_from + destination.retry.max_age

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
        event: Event,
        delivery: Delivery,
        destination: Destination,
        *,
        rendered: Rendered | None,
        result: Result,
        started: float,
    ) -> float | None:
        now = self._clock.now()
        finished = delivery.finished + (result.outcome is not Outcome.EXPIRED)
        verdict = decide(
            destination.retry,
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
