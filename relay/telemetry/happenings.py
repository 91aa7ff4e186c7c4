"""One method per happening of Relay's closed list: its log line and its metrics agree."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self, TextIO

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from relay.model import Attempt, Decision, Delivery, Event, Outcome
from relay.telemetry.figures import Figures, RescuedDelivery
from relay.telemetry.logs import Logs, configure, cut, iso, masked
from relay.telemetry.metrics import Metrics, set_all

_LONG = 1_024
"""Characters of an error or note in a log line; the journal keeps all of it."""


class Telemetry:
    """Tells operators what happens.

    `unavailable`, `recovered` and `committed` may be called from any thread, as the journal does;
    all others are called in the event loop.
    """

    def __init__(self, logs: Logs) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self._logs = logs
        self._log: FilteringBoundLogger = logs.logger

    @classmethod
    def configure(
        cls,
        *,
        log_format: Literal["json", "console"] = "json",
        log_level: str = "info",
        stream: TextIO | None = None,
    ) -> Self:
        """Set up the logs of this process, on stdout unless a stream is given, and tell through them."""
        return cls(configure(log_format=log_format, log_level=log_level, stream=stream))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the lines that wait; may be called twice."""
        self._logs.close()

    def bind(self, *, node: str) -> None:
        """Say which node speaks, on every line from now on."""
        self._log = self._logs.logger.bind(node=node)

    # The service

    def service_started(self, **facts: object) -> None:
        """The process began; `facts` are what it was started with (version, journal, addresses)."""
        shown = {key: masked(fact) if isinstance(fact, str) else fact for key, fact in facts.items()}
        self._log.info("service.started", **shown)

    def service_ready(self, **facts: object) -> None:
        """Events are taken from now on."""
        self._log.info("service.ready", **facts)

    def service_draining(self, *, grace: float, in_flight: int) -> None:
        """No new events; attempts in flight have `grace` seconds."""
        self._log.info("service.draining", grace=grace, in_flight=in_flight)

    def service_stopped(self, **facts: object) -> None:
        """The drain is over."""
        self._log.info("service.stopped", **facts)

    def config_loaded(self, *, path: str, digest: str, **counts: int) -> None:
        """A configuration is in force, with so many sources, destinations and routes."""
        self.metrics.config_ok.set(1)
        self._log.info("config.loaded", config=path, digest=digest, **counts)

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None = None) -> None:
        """A bug was met and got around; the line has its traceback, and is a library's in the closed list."""
        line: dict[str, Any] = {"delivery_id": delivery_id} if delivery_id is not None else {}
        trace = "".join(traceback.format_exception(error))
        self._log.error(
            "library.message",
            logger=f"relay.{where}",
            message=_text(f"{type(error).__name__}: {error}"),
            traceback=masked(trace[-16 * _LONG :]),
            **line,
        )

    # Events

    def event_accepted(
        self,
        *,
        event: Event,
        routes: Iterable[str],
        deliveries: int,
        secret_index: int | None,
        duration: float,
        unparsed: str | None = None,
    ) -> None:
        """An event is on disk and has somewhere to go; `secret_index` is the secret that matched.

        `unparsed` says why expressions saw no body: it was `too_large` or `too_deep` to be parsed.
        """
        self.metrics.source(event.source).accepted.inc()
        line = _event(event)
        line["routes"] = [*routes]
        line["deliveries"] = deliveries
        if secret_index is not None:
            line["secret_index"] = secret_index
        line["bytes"] = len(event.body)
        line["duration_ms"] = round(duration * 1e3, 3)
        if unparsed is not None:
            line["body_unparsed"] = unparsed
        self._log.info("event.accepted", **line)

    def event_filtered(
        self,
        *,
        event: Event,
        secret_index: int | None = None,
        duration: float | None = None,
        unparsed: str | None = None,
    ) -> None:
        """An event is on disk and goes nowhere: no route wanted it, or their expressions failed."""
        self.metrics.source(event.source).filtered.inc()
        line = _event(event)
        _add(line, reason=event.reason, secret_index=secret_index, body_unparsed=unparsed)
        line["bytes"] = len(event.body)
        if duration is not None:
            line["duration_ms"] = round(duration * 1e3, 3)
        self._log.info("event.filtered", **line)

    def event_duplicate(self, *, event: Event, first: str, revived: Sequence[str] = ()) -> None:
        """The event `first` was posted again; `revived` are destinations that get it after all."""
        self.metrics.source(event.source).duplicate.inc()
        line = _event(event)
        line["event_id"] = first
        if revived:
            line["revived"] = revived
        self._log.info("event.duplicate", **line)

    def event_conflict(self, *, event: Event, first: str | None = None) -> None:
        """An event came under the key of another, `first`, with a different body; it is kept, not sent."""
        self.metrics.source(event.source).conflict.inc()
        line = _event(event)
        _add(line, first_event_id=first)
        self._log.warning("event.conflict", **line)

    def acknowledged(self, *, source: str, seconds: float) -> None:
        """An event was taken, and its sender answered after so many seconds."""
        metrics = self.metrics.source(source)
        metrics.ack.observe(seconds)
        metrics.last.set(time.time())

    def event_rejected(
        self, *, source: str, reason: str, status: int, remote: str | None, path: str | None
    ) -> None:
        """A request was refused; `source` is one of the configuration, or empty.

        What the sender made up labels no metric, or it could fill the memory with labels.
        """
        self.metrics.rejection(source, reason).inc()
        line: dict[str, Any] = {"source": source} if source else {}
        _add(line, reason=reason, status=status, remote=cut(remote), path=cut(path))
        self._log.warning("event.rejected", **line)

    def request_refused(self, status: int, reason: str, remote: str | None) -> None:
        """The protocol refused what was no proper request, before its path was looked at."""
        self.event_rejected(source="", reason=reason, status=status, remote=remote, path=None)

    def handshake_answered(self, *, source: str) -> None:
        """A provider's question was answered by the scheme; nothing was stored."""
        self._log.info("handshake.answered", source=source)

    def route_error(self, *, event: Event, route: str, error: str) -> None:
        """An expression of a route failed on an event."""
        self.metrics.route_errors.inc()
        self._log.warning("route.error", route=route, error=_text(error), **_event(event))

    # Deliveries

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
        line = _delivery(event, delivery)
        line["attempt"] = attempt.number
        line["outcome"] = outcome.value
        if attempt.status is not None:
            line["status"] = attempt.status
        line["duration_ms"] = round(attempt.duration * 1e3, 3)
        if attempt.error is not None:
            line["error"] = _text(attempt.error)
        if attempt.note is not None:
            line["note"] = _text(attempt.note)
        line["decision"] = decision.value
        if next_attempt_at is not None:
            line["next_attempt_at"] = iso(next_attempt_at)
        if decision is Decision.DELIVERED or outcome is Outcome.INTERRUPTED:
            self._log.info("attempt.finished", **line)
        else:
            self._log.warning("attempt.finished", **line)

    def delivery_dead(
        self, *, event: Event, delivery: Delivery, attempt: Attempt, reason: str | None
    ) -> None:
        """A delivery was given up; only an operator's retry or replay moves it again."""
        line = _delivery(event, delivery)
        _add(
            line,
            attempt=attempt.number,
            reason=reason,
            outcome=attempt.outcome.value,
            status=attempt.status,
            error=_text(attempt.error),
        )
        self._log.error("delivery.dead", **line)

    def delivery_fenced(self, *, event: Event, delivery: Delivery, attempt: Attempt) -> None:
        """An outcome came too late: the delivery has another owner by now, and the outcome is dropped."""
        line = _delivery(event, delivery)
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
        if rescued.dead:
            self._log.error("delivery.dead", reason="poison", **line)
        else:
            self._log.warning("delivery.rescued", **line)

    # The journal, which calls from its own thread

    def unavailable(self, error: str) -> None:
        """The journal takes no writes; senders are told to come again."""
        self._log.error("journal.unavailable", error=_text(error))

    def recovered(self) -> None:
        """The journal takes writes again."""
        self._log.info("journal.recovered")

    def committed(self, size: int, seconds: float) -> None:
        """The journal committed so many writes in one go; a metric alone, with no line."""
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.batch_size.observe(size)

    # Housekeeping

    def retention_purged(self, **counts: object) -> None:
        """Old rows are gone, so many of each kind."""
        self._log.info("retention.purged", **counts)

    def ledger_audited(self, *, imbalance: int) -> None:
        """The ledger was added up; what it misses is a metric."""
        self.metrics.imbalance.set(imbalance)

    def refresh(self, *, now: float, status: Figures, journal_bytes: int, disk_free: int) -> None:
        """Set the gauges that are looked up and not counted."""
        metrics = self.metrics
        figures = status.destinations
        set_all(metrics.backlog, {one.name: one.pending for one in figures})
        set_all(metrics.dead, {one.name: one.dead for one in figures})
        ages = {one.name: 0.0 if one.oldest_at is None else max(0.0, now - one.oldest_at) for one in figures}
        set_all(metrics.oldest, ages)
        metrics.journal_bytes.set(journal_bytes)
        metrics.disk_free.set(disk_free)


def _text(text: str | None) -> str | None:
    return text if text is None else cut(masked(text[: 4 * _LONG]), _LONG)


def _add(line: dict[str, Any], **values: object) -> None:
    line.update((key, value) for key, value in values.items() if value is not None)


def _event(event: Event) -> dict[str, Any]:
    """The keys of an event's line, without those that do not apply."""
    line: dict[str, Any] = {"event_id": event.id}
    if event.provider_id is not None:
        line["provider_id"] = cut(event.provider_id)
    line["source"] = event.source
    if event.type is not None:
        line["type"] = cut(event.type)
    return line


def _delivery(event: Event, delivery: Delivery) -> dict[str, Any]:
    """The keys of a delivery's line, without those that do not apply."""
    line: dict[str, Any] = {"event_id": event.id, "delivery_id": delivery.id}
    if event.provider_id is not None:
        line["provider_id"] = cut(event.provider_id)
    line["source"] = delivery.source
    line["route"] = delivery.route
    line["destination"] = delivery.destination
    return line
