"""What every happening needs to be told: the logger, the metrics, who listens, and the keys of a line."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from relay.model import Delivery, Event
from relay.telemetry.logs import Logs, cut, masked
from relay.telemetry.metrics import Metrics
from relay.telemetry.notice import ALERT_SOURCE, Kind, Listener, Notice

LONG = 1_024
"""Characters of an error or note in a log line; the journal keeps all of it."""


class TelemetryBase:
    """The ground of `Telemetry`, whose parts by duty each add their happenings."""

    def __init__(self, logs: Logs) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self._logs = logs
        self._log: FilteringBoundLogger = logs.logger
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Hand every notice from now on to `listener`, in the event loop."""
        self._listeners.append(listener)

    def _notify(self, kind: Kind, about: str, text: str, *, seconds: float | None = None) -> None:
        if self._listeners:
            notice = Notice(kind=kind, about=about, text=text, seconds=seconds)
            for listener in self._listeners:
                listener(notice)


def text_of(text: str | None) -> str | None:
    """Free text as a line may have it: without credentials, and not without end."""
    return text if text is None else cut(masked(text[: 4 * LONG]), LONG)


def add(line: dict[str, Any], **values: object) -> None:
    """Add to a line what applies."""
    line.update((key, value) for key, value in values.items() if value is not None)


def event_keys(event: Event) -> dict[str, Any]:
    """The keys of an event's line, without those that do not apply."""
    line: dict[str, Any] = {"event_id": event.id}
    if event.provider_id is not None:
        line["provider_id"] = cut(event.provider_id)
    line["source"] = event.source
    if event.type is not None:
        line["type"] = cut(event.type)
    return line


def delivery_keys(event: Event | None, delivery: Delivery) -> dict[str, Any]:
    """The keys of a delivery's line, without those that do not apply."""
    line: dict[str, Any] = {"event_id": delivery.event_id, "delivery_id": delivery.id}
    if event is not None and event.provider_id is not None:
        line["provider_id"] = cut(event.provider_id)
    line["source"] = delivery.source
    line["route"] = delivery.route
    line["destination"] = delivery.destination
    return line


def is_alert(source: str) -> bool:
    """Whether this is the source of alerts, about which nobody is alerted."""
    return source == ALERT_SOURCE
