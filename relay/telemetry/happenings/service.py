"""What happens to the service itself: its life, its configuration, its journal, its house."""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Sequence
from typing import Any

from relay.model import Standing
from relay.telemetry.bugs import Bugs
from relay.telemetry.figures import Figures
from relay.telemetry.happenings.base import LONG, TelemetryBase, text_of
from relay.telemetry.logs import Logs, iso, masked
from relay.telemetry.metrics import set_all

_MOST_WARNINGS = 20
"""Warnings in one line; `relay check` has all of them."""


class ServiceEvents(TelemetryBase):
    """One method per happening of the service."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logs)
        self._imbalance = 0
        self._bugs = Bugs()

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

    def worker_ended(self, *, worker: int, pid: int, how: str, pause: float) -> None:
        """A worker ended that nobody told to; another takes its place after `pause` seconds."""
        self._log.error(
            "library.message",
            logger="relay.workers",
            message=f"worker {worker} (process {pid}) ended by {how}; another starts in {pause:g} s",
            worker=worker,
        )

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None = None) -> None:
        """A bug was met and got around; the line has its traceback, and is a library's in the closed list.

        The same bug is told once a minute, however often it is met. From any thread.
        """
        if not self._bugs.is_new(error, time.monotonic()):
            return
        line: dict[str, Any] = {"delivery_id": delivery_id} if delivery_id is not None else {}
        trace = "".join(traceback.format_exception(error))
        self._log.error(
            "library.message",
            logger=f"relay.{where}",
            message=text_of(f"{type(error).__name__}: {error}"),
            traceback=masked(trace[-16 * LONG :]),
            **line,
        )

    # The configuration

    def config_loaded(
        self,
        *,
        path: str,
        digest: str,
        experimental: Sequence[str] = (),
        warnings: Sequence[str] = (),
        **counts: int,
    ) -> None:
        """A configuration is in force, with so many sources, destinations and routes.

        `experimental`: the sources that verify by a scheme which nothing of the provider's confirms;
        `warnings`: what in the file is most likely not meant.
        """
        self.metrics.config_ok.set(1)
        told = {"experimental": list(experimental)} if experimental else {}
        self._log.info("config.loaded", config=path, digest=digest, **counts, **told)
        if warnings:
            shown = [text_of(warning) for warning in warnings[:_MOST_WARNINGS]]
            self._log.warning("config.warning", config=path, count=len(warnings), warnings=shown)

    def order_changed(self, *, destination: str, pending: int) -> None:
        """The order of a destination has changed; new deliveries wait for the `pending` ones before them."""
        self._log.warning("order.changed", destination=destination, pending=pending)

    def config_rejected(self, *, path: str, report: str) -> None:
        """A configuration was not taken, for the mistakes in the report; the one in force goes on."""
        self.metrics.config_ok.set(0)
        self._log.error("config.rejected", config=path, error=text_of(report))
        self._notify(
            "config_rejected",
            "",
            f"The configuration {path} was not taken, and the one before it goes on: {text_of(report)}",
        )

    def configured(self, *, sources: Collection[str], destinations: Collection[str]) -> None:
        """Only these are in the configuration from now on; metrics of others end. No line of its own."""
        self.metrics.keep(sources=sources, destinations=destinations)

    # The journal, which calls from its own thread

    def unavailable(self, error: str) -> None:
        """The journal takes no writes; senders are told to come again."""
        self._log.error("journal.unavailable", error=text_of(error))

    def recovered(self) -> None:
        """The journal takes writes again."""
        self._log.info("journal.recovered")

    def kept_back(self, error: str, number: int) -> None:
        """The journal takes writes, but not `number` of them, most of them outcomes of attempts."""
        self._log.error("journal.unavailable", unwritten=number, error=text_of(error))

    def caught_up(self) -> None:
        """All outcomes that the journal did not take are written."""
        self._log.info("journal.recovered", unwritten=0)

    def rewound(self, *, loss: str | None, events: int | None, since: float | None) -> None:
        """The database is another one, or in an earlier state; of a loss `journal_rewound` gives notice."""
        if loss is None:
            self._log.warning("journal.rewound", events_lost=events)
            return
        self._log.error(
            "journal.rewound", loss=loss, events_lost=events, since=None if since is None else iso(since)
        )

    def chore_blind(self, *, chore: str, error: str) -> None:
        """A chore cannot read the journal, which takes writes: what it looks for is seen by nobody."""
        self._log.error("journal.unavailable", chore=chore, error=text_of(error))

    def chore_sees(self, *, chore: str) -> None:
        """The chore reads the journal again."""
        self._log.info("journal.recovered", chore=chore)

    def committed(self, size: int, seconds: float) -> None:
        """The journal committed so many writes in one go; a metric alone, with no line."""
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.batch_size.observe(size)

    # Housekeeping

    def retention_purged(self, **counts: object) -> None:
        """Old rows are gone, so many of each kind."""
        self._log.info("retention.purged", **counts)

    def ledger_audited(self, *, imbalance: int) -> None:
        """The ledger was added up; what it misses is a metric, and a notice when it gets more."""
        before, self._imbalance = self._imbalance, imbalance
        self.metrics.imbalance.set(imbalance)
        if imbalance > before:
            self._notify(
                "ledger", "", f"The ledger is out by {imbalance}. See: relay ledger, and relay doctor."
            )

    def journal_rewound(self, *, loss: str, events: int, since: float | None) -> None:
        """What a database that was put back has lost waits for an operator; a notice alone."""
        after = "" if since is None else f" after {iso(since)}"
        self._notify(
            "journal_rewound",
            loss,
            f"The journal's database was put back to an earlier state: at least {events} events that were"
            f" acknowledged{after} are gone. See: relay doctor; then: relay journal accept-loss {loss}",
        )

    def disk_low(self, *, free: int) -> None:
        """The journal's disk has so few bytes left that senders will be sent away soon; a notice alone."""
        self._notify(
            "disk_low",
            "",
            f"The disk of the journal is nearly full: {free >> 20} MiB are left. Senders get 503 when it is.",
        )

    def journal_pinned(self, *, by: str, does: str, seconds: float | None) -> None:
        """Somebody who is not Relay keeps the journal from shrinking; a notice alone."""
        self._notify(
            "journal_pinned", "", f"The journal grows: {by} {does}. See: relay doctor.", seconds=seconds
        )

    def refresh(self, *, now: float, status: Figures, journal_bytes: int, disk_free: int | None) -> None:
        """Set the gauges that are looked up and not counted; without a disk of its own there is no gauge."""
        metrics = self.metrics
        figures = status.destinations
        set_all(metrics.backlog, {one.name: one.pending for one in figures})
        set_all(metrics.dead, {one.name: one.dead for one in figures})
        ages = {one.name: 0.0 if one.oldest_at is None else max(0.0, now - one.oldest_at) for one in figures}
        set_all(metrics.oldest, ages)
        standings: dict[str, Standing] = {one.name: one.standing for one in figures}
        set_all(metrics.breaker_open, {name: one.opened_at is not None for name, one in standings.items()})
        set_all(metrics.paused, {name: one.paused_at is not None for name, one in standings.items()})
        metrics.journal_bytes.set(journal_bytes)
        if disk_free is not None:
            metrics.set_disk_free(disk_free)
