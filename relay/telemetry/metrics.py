"""The Prometheus metrics of Relay, in a registry of their own."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from relay import __version__
from relay.telemetry.notice import ALERT_SOURCE

_ACK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ATTEMPT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
RESULTS = ("accepted", "filtered", "duplicate", "conflict")
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class SourceMetrics:
    """One source's metrics with its label already applied, since `labels()` costs more than `inc()`."""

    __slots__ = ("accepted", "ack", "conflict", "duplicate", "filtered", "last")

    def __init__(self, metrics: Metrics, source: str) -> None:
        self.accepted, self.filtered, self.duplicate, self.conflict = (
            metrics.events.labels(source, result) for result in RESULTS
        )
        self.ack = metrics.ack_seconds.labels(source)
        self.last = metrics.last_event.labels(source)


class Metrics:
    """Every metric by name, and the labelled ones by the labels that were seen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._disk_free: Gauge | None = None
        self._counters(registry)
        self._gauges(registry)
        self._sources: dict[str, SourceMetrics] = {}
        self._attempts: dict[tuple[str, str], Counter] = {}
        self._rejected: dict[tuple[str, str], Counter] = {}

    def _counters(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "relay_events_total",
            "Events taken, by result: accepted, filtered, duplicate, conflict.",
            ("source", "result"),
            registry=registry,
        )
        self.rejected = Counter(
            "relay_rejected_total",
            "Requests refused; the source is empty where no source answers to the path.",
            ("source", "reason"),
            registry=registry,
        )
        self.route_errors = Counter(
            "relay_route_errors_total", "Expressions of routes that failed on an event.", registry=registry
        )
        self.attempts = Counter(
            "relay_attempts_total",
            "Attempts ended, by outcome.",
            ("destination", "outcome"),
            registry=registry,
        )
        self.attempt_seconds = Histogram(
            "relay_attempt_seconds", "Duration of an attempt.", buckets=_ATTEMPT, registry=registry
        )
        self.ack_seconds = Histogram(
            "relay_ack_seconds",
            "From the request to its answer, for events taken.",
            ("source",),
            buckets=_ACK,
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "relay_journal_commit_seconds", "Duration of a commit.", buckets=_COMMIT, registry=registry
        )
        self.batch_size = Histogram(
            "relay_journal_batch_size", "Writes in one commit.", buckets=_BATCH, registry=registry
        )

    def _gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.backlog = gauge("relay_backlog", "Pending deliveries.", "destination")
        self.oldest = gauge(
            "relay_oldest_pending_seconds", "Age of the oldest pending delivery.", "destination"
        )
        self.dead = gauge("relay_dead", "Dead deliveries.", "destination")
        self.breaker_open = gauge("relay_breaker_open", "1 while its breaker is open.", "destination")
        self.paused = gauge("relay_paused", "1 while it is paused.", "destination")
        self.last_event = gauge(
            "relay_last_event_timestamp", "When the last event was taken, in Unix seconds.", "source"
        )
        self.journal_bytes = gauge("relay_journal_bytes", "Size of the journal.")
        self.imbalance = gauge("relay_ledger_imbalance", "Events and deliveries that the ledger misses.")
        self.config_ok = gauge("relay_config_ok", "1 if the configuration on disk is the one in force.")
        Info("relay_build", "What is running.", registry=registry).info(
            {
                "version": __version__,
                "python": platform.python_version(),
                "sqlite": sqlite3.sqlite_version,
            }
        )

    def set_disk_free(self, free: int) -> None:
        """How many bytes are free where the journal lies; there is no such gauge before it is set."""
        if self._disk_free is None:
            self._disk_free = Gauge(
                "relay_disk_free_bytes", "Free space where the journal lies.", registry=self._registry
            )
        self._disk_free.set(free)

    def source(self, name: str) -> SourceMetrics:
        """The metrics of one source of the configuration."""
        found = self._sources.get(name)
        if found is None:
            found = self._sources[name] = SourceMetrics(self, name)
        return found

    def attempt(self, destination: str, outcome: str) -> Counter:
        """The counter of attempts at one destination with one outcome."""
        key = (destination, outcome)
        found = self._attempts.get(key)
        if found is None:
            found = self._attempts[key] = self.attempts.labels(destination, outcome)
        return found

    def rejection(self, source: str, reason: str) -> Counter:
        """The counter of requests to one source refused for one reason."""
        key = (source, reason)
        found = self._rejected.get(key)
        if found is None:
            found = self._rejected[key] = self.rejected.labels(source, reason)
        return found

    def keep(self, *, sources: Collection[str], destinations: Collection[str]) -> None:
        """Drop what is labelled by a source or destination that is no longer among these.

        Relay's own alerts, and requests to no source at all, stay.
        """
        ours = {*sources, ALERT_SOURCE, ""}
        for name in self._sources.keys() - ours:
            del self._sources[name]
            for result in RESULTS:
                self.events.remove(name, result)
            self.ack_seconds.remove(name)
            self.last_event.remove(name)
        for key in [key for key in self._rejected if key[0] not in ours]:
            del self._rejected[key]
            self.rejected.remove(*key)
        for key in [key for key in self._attempts if key[0] not in destinations]:
            del self._attempts[key]
            self.attempts.remove(*key)


def set_all(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Set a gauge for every destination named, and forget those that are no longer."""
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
