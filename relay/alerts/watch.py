"""Looks now and then for what no happening tells: old backlogs, silent sources, a full disk, a pinned log."""

from __future__ import annotations

from relay.config import Configuration
from relay.journal import Pin, Status
from relay.problems import Disk, is_low, silent_since
from relay.process.clock import Clock
from relay.telemetry import Telemetry


class Watch:
    """What was seen at the last look, so that each thing is told once, as it begins.

    Call each `look` every few seconds, and `replace` at a reload.
    """

    def __init__(self, *, configuration: Configuration, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._known_since: dict[str, float] = {}
        self._silent: set[str] = set()
        self._lagging: dict[str, frozenset[float]] = {}
        self._is_disk_low = False
        self._lost: dict[str, int] = {}
        self._pinned: tuple[str, frozenset[float]] = ("", frozenset())
        self.replace(configuration)

    def replace(self, configuration: Configuration) -> None:
        """Go by another configuration's rules and sources from now on."""
        now = self._clock.now()
        self._configuration = configuration
        self._known_since = {name: self._known_since.get(name, now) for name in configuration.sources}
        self._silent &= configuration.sources.keys()

    def look(self, status: Status) -> None:
        """Look for backlogs, silence and events that are gone; each is told as it begins.

        The ledger's audit tells by itself, through `Telemetry.ledger_audited`.
        """
        now = self._clock.now()
        self._look_for_lag(status, now)
        self._look_for_silence(status, now)
        self._look_for_losses(status)

    def look_at_disk(self, disk: Disk | None) -> None:
        """Look for a full disk; None where the journal lies on no disk of this machine."""
        was_low, self._is_disk_low = self._is_disk_low, disk is not None and is_low(disk)
        if disk is not None and self._is_disk_low and not was_low:
            self._telemetry.disk_low(free=disk.free)

    def look_at_pin(self, pin: Pin | None) -> None:
        """Look for who pins the journal; None where nobody does."""
        lags = self._lags("journal_pinned")
        passed = frozenset(
            lag for lag in lags if pin is not None and (pin.seconds is None or pin.seconds > lag)
        )
        by, told = self._pinned
        self._pinned = ("" if pin is None else pin.by, passed)
        if pin is not None and passed - (told if pin.by == by else frozenset()):
            self._telemetry.journal_pinned(by=pin.by, does=pin.does, seconds=pin.seconds)

    def _look_for_losses(self, status: Status) -> None:
        for loss in status.losses:
            if self._lost.get(loss.id) != loss.events:
                self._telemetry.journal_rewound(loss=loss.id, events=loss.events, since=loss.since)
        self._lost = {loss.id: loss.events for loss in status.losses}

    def _lags(self, about: str) -> set[float]:
        return {rule.lag for rule in self._configuration.alerts if about in rule.about}

    def _look_for_lag(self, status: Status, now: float) -> None:
        lags = self._lags("lagging")
        lagging: dict[str, frozenset[float]] = {}
        for one in status.destinations:
            age = 0.0 if one.oldest_at is None else now - one.oldest_at
            passed = frozenset(lag for lag in lags if age > lag)
            if passed:
                lagging[one.name] = passed
            if passed - self._lagging.get(one.name, frozenset()):
                self._telemetry.destination_lagging(destination=one.name, seconds=age, pending=one.pending)
        self._lagging = lagging

    def _look_for_silence(self, status: Status, now: float) -> None:
        silent = silent_since(status, self._configuration, self._known_since, now)
        for name, since in silent.items():
            if name not in self._silent:
                self._telemetry.source_silent(source=name, seconds=now - since)
        self._silent = set(silent)
