"""What happens to deliveries: attempts, their ends, and owners that are lost."""

from __future__ import annotations

from relay.model import Attempt, Decision, Delivery, Event, Outcome
from relay.telemetry.figures import RescuedDelivery
from relay.telemetry.happenings.base import TelemetryBase, add, delivery_keys, is_alert, text_of
from relay.telemetry.logs import iso


class Deliveries(TelemetryBase):
    """One method per happening of a delivery."""

    def attempt_finished(
        self,
        *,
        event: Event,
        delivery: Delivery,
        attempt: Attempt,
        decision: Decision,
        next_attempt_at: float | None,
    ) -> None:
        """An attempt ended, and this is what follows from it."""
        outcome = attempt.outcome
        self.metrics.attempt(delivery.destination, outcome).inc()
        self.metrics.attempt_seconds.observe(attempt.duration)
        line = delivery_keys(event, delivery)
        line["attempt"] = attempt.number
        line["outcome"] = outcome.value
        if attempt.status is not None:
            line["status"] = attempt.status
        line["duration_ms"] = round(attempt.duration * 1e3, 3)
        if attempt.error is not None:
            line["error"] = text_of(attempt.error)
        if attempt.note is not None:
            line["note"] = text_of(attempt.note)
        line["decision"] = decision.value
        if next_attempt_at is not None:
            line["next_attempt_at"] = iso(next_attempt_at)
        if decision is Decision.DELIVERED or outcome is Outcome.INTERRUPTED:
            self._log.info("attempt.finished", **line)
        else:
            self._log.warning("attempt.finished", **line)

    def delivery_dead(
        self,
        *,
        event: Event | None,
        delivery: Delivery,
        attempt: Attempt | None = None,
        reason: str | None,
    ) -> None:
        """A delivery was given up; only an operator's retry or replay moves it again.

        Without an attempt it died waiting (`expired`) or was born dead (`backlog_full`); `event` may
        be unknown then.
        """
        line = delivery_keys(event, delivery)
        last = delivery if attempt is None else attempt
        add(
            line,
            attempt=delivery.attempts or None if attempt is None else attempt.number,
            reason=reason,
            outcome=None if last.outcome is None else last.outcome.value,
            status=last.status,
            error=text_of(last.error),
        )
        self._log.error("delivery.dead", **line)
        self._given_up(
            source=delivery.source,
            destination=delivery.destination,
            delivery_id=delivery.id,
            reason=reason or "given up",
            error=text_of(last.error),
        )

    def delivery_fenced(self, *, event: Event, delivery: Delivery, attempt: Attempt) -> None:
        """An outcome came too late: the delivery has another owner by now, and the outcome is dropped."""
        line = delivery_keys(event, delivery)
        self._log.warning("delivery.fenced", attempt=attempt.number, outcome=attempt.outcome.value, **line)

    def delivery_rescued(self, *, rescued: RescuedDelivery) -> None:
        """A delivery lost its owner and waits again, or lost one too many and is dead."""
        line = {
            "event_id": rescued.event_id,
            "delivery_id": rescued.delivery_id,
            "source": rescued.source,
            "destination": rescued.destination,
            "owners_lost": rescued.owners_lost,
        }
        if not rescued.dead:
            self._log.warning("delivery.rescued", **line)
            return
        self._log.error("delivery.dead", reason="poison", **line)
        self._given_up(
            source=rescued.source,
            destination=rescued.destination,
            delivery_id=rescued.delivery_id,
            reason="poison",
            error=None,
        )

    def _given_up(
        self, *, source: str, destination: str, delivery_id: str, reason: str, error: str | None
    ) -> None:
        """Raise the notice of a death; that of an alert is told by the log alone."""
        if is_alert(source):
            self.alert_failed(reason=reason, destination=destination, delivery_id=delivery_id)
            return
        why = reason if error is None else f"{reason}, {error}"
        self._notify(
            "dead",
            destination,
            f"A delivery from {source} to {destination} is dead: {why}. See: relay show {delivery_id}",
        )

    def alert_failed(
        self,
        *,
        reason: str,
        kind: str | None = None,
        about: str | None = None,
        destination: str | None = None,
        delivery_id: str | None = None,
    ) -> None:
        """Operators were not told of something: the log is the last to know."""
        line: dict[str, object] = {}
        add(line, delivery_id=delivery_id, destination=destination, kind=kind, about=about, reason=reason)
        self._log.error("alert.failed", **line)
