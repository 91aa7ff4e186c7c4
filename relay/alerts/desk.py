"""Who takes notices, stores them as alerts, and looks for what no happening tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from relay.alerts.tallies import MOST, Tallies, Tally
from relay.alerts.wording import ROUTE, entry_of
from relay.clock import Clock
from relay.config import AlertRule, Configuration, Destination
from relay.errors import JournalUnavailable
from relay.journal import Journal, Status
from relay.telemetry import Kind, Notice, Telemetry

AGAIN = 5.0
"""Seconds until a journal that took nothing is asked again."""

_LOW_SHARE = 20
_LOW_MOST = 5 << 30
_LOW_LEAST = 256 << 20


class Disk(Protocol):
    """The disk on which the journal lies, in bytes, as `shutil.disk_usage` tells it."""

    @property
    def total(self) -> int:
        """How large it is."""
        ...

    @property
    def free(self) -> int:
        """How much of it is free."""
        ...


class Alerts:
    """Takes notices, stores alerts, and looks now and then for what no happening tells.

    One per process, in its event loop: hand `note` to `Telemetry.listen`, keep `run` running, call
    `check` every few seconds, `replace` at a reload, and `flush` once more before the journal closes.
    """

    def __init__(
        self,
        *,
        configuration: Configuration,
        journal: Journal,
        nudge: Callable[[str], None],
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._nudge = nudge
        self._telemetry = telemetry
        self._clock = clock
        self._tallies = Tallies()
        self._wake = asyncio.Event()
        self._full = False
        self._configuration = configuration
        self._known_since: dict[str, float] = {}
        self._silent: set[str] = set()
        self._lagging: dict[str, frozenset[float]] = {}
        self._is_disk_low = False
        self.replace(configuration)

    def replace(self, configuration: Configuration) -> None:
        """Go by another configuration's rules, destinations and sources from now on."""
        now = self._clock.now()
        self._configuration = configuration
        self._known_since = {name: self._known_since.get(name, now) for name in configuration.sources}
        self._silent &= configuration.sources.keys()

    def note(self, notice: Notice) -> None:
        """Take a notice, if a rule wants it; returns at once."""
        if not any(_wants(rule, notice.kind, notice.seconds) for rule in self._configuration.alerts):
            return
        if self._tallies.add(notice, self._clock.now()):
            self._wake.set()
        elif not self._full:
            self._full = True
            self._telemetry.alert_failed(
                kind=notice.kind, about=notice.about, reason=f"{MOST} other alerts wait for the journal"
            )

    # Telling

    async def run(self) -> None:
        """Store each alert when it may be told, for ever."""
        while True:
            await self._wait()
            try:
                await self.flush()
            except JournalUnavailable:
                await asyncio.sleep(AGAIN)
            except Exception as error:  # noqa: BLE001 - the next alert must not die of this one
                self._telemetry.internal_error(where="alerts", error=error)
                await asyncio.sleep(AGAIN)

    async def _wait(self) -> None:
        """Return when something may be told."""
        while True:
            self._wake.clear()
            now, due = self._clock.now(), self._tallies.next_due
            if due is not None and due <= now:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if due is None else due - now)

    async def flush(self) -> None:
        """Store what may be told now. Raises JournalUnavailable; what is not stored is kept."""
        for tally in self._tallies.due(self._clock.now()):
            await self._store(tally)
            self._full = False

    async def _store(self, tally: Tally) -> None:
        counted = tally.count
        destinations = self._destinations(tally)
        if not destinations:  # the rules have changed meanwhile
            self._tallies.told(tally, counted, self._clock.now())
            return
        standings = await self._journal.standings()
        # Read after the wait, so that text and count are of one moment.
        now, counted = self._clock.now(), tally.count
        entry = entry_of(tally, destinations, standings, now)
        receipt = await self._journal.append(entry)
        for name in receipt.revived:
            self._nudge(name)
        if receipt.kind != "stored" and receipt.event_id != entry.event.id:
            self._tallies.put_off(tally, now)
            return
        self._tallies.told(tally, counted, now)
        for delivery in entry.deliveries:
            self._nudge(delivery.destination)
        self._telemetry.event_accepted(
            event=entry.event,
            routes=(ROUTE,),
            deliveries=len(entry.deliveries),
            secret_index=None,
            duration=self._clock.now() - now,
        )

    def _destinations(self, tally: Tally) -> list[Destination]:
        """The destinations of every rule that wants this, each once."""
        names = {
            name: None
            for rule in self._configuration.alerts
            if _wants(rule, tally.notice.kind, tally.seconds)
            for name in rule.to
        }
        known = self._configuration.destinations
        return [known[name] for name in names if name in known]

    # Looking

    def check(self, status: Status, *, disk: Disk | None) -> None:
        """Look for what no happening tells: backlogs, silence and the disk; each is told as it begins.

        `disk` is None where the journal lies on no disk of this machine. The ledger's audit tells by
        itself, through `Telemetry.ledger_audited`.
        """
        now = self._clock.now()
        self._look_for_lag(status, now)
        self._look_for_silence(status, now)
        was_low, self._is_disk_low = self._is_disk_low, disk is not None and is_low(disk)
        if disk is not None and self._is_disk_low and not was_low:
            self._telemetry.disk_low(free=disk.free)

    def _look_for_lag(self, status: Status, now: float) -> None:
        lags = {rule.lag for rule in self._configuration.alerts if "lagging" in rule.about}
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
        heard = {one.name: one.last_at for one in status.sources if one.last_at is not None}
        for name, source in self._configuration.sources.items():
            silence = now - heard.get(name, self._known_since[name])
            if source.silent_after is None or silence <= source.silent_after:
                self._silent.discard(name)
            elif name not in self._silent:
                self._silent.add(name)
                self._telemetry.source_silent(source=name, seconds=silence)


def _wants(rule: AlertRule, kind: Kind, seconds: float | None) -> bool:
    return kind in rule.about and (seconds is None or seconds > rule.lag)


def is_low(disk: Disk) -> bool:
    """Whether a twentieth of the disk or less is free; of a very large or small one, 5 GiB or 256 MiB."""
    return disk.free < max(_LOW_LEAST, min(_LOW_MOST, disk.total // _LOW_SHARE))
