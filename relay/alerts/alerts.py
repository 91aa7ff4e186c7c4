"""Who takes notices and stores them as alerts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from relay.alerts.coalescing import MOST, Tallies, Tally
from relay.alerts.wording import ROUTE, entry_of
from relay.config import AlertRule, Configuration, Destination
from relay.errors import JournalUnavailable
from relay.journal import Journal
from relay.process.clock import Clock
from relay.telemetry import SEEN_BY_ALL, Kind, Notice, Telemetry

AGAIN = 5.0
"""Seconds until a journal that took nothing is asked again."""


class Alerts:
    """Takes notices and stores alerts.

    One per process, in its event loop: hand `note` to `Telemetry.listen`, keep `run` running, call
    `replace` at a reload, and `flush` once more before the journal closes.
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

    def replace(self, configuration: Configuration) -> None:
        """Go by another configuration's rules and destinations from now on."""
        self._configuration = configuration

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

    async def run(self) -> None:
        """Store each alert when it may be told, for ever."""
        while True:
            try:
                await self._wait()
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
        is_others = receipt.kind != "stored" and receipt.event_id != entry.event.id
        if is_others and tally.notice.kind not in SEEN_BY_ALL:
            self._tallies.put_off(tally, now)
            return
        self._tallies.told(tally, counted, now)
        if is_others:  # another node has told of this very happening
            return
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


def _wants(rule: AlertRule, kind: Kind, seconds: float | None) -> bool:
    return kind in rule.about and (seconds is None or seconds > rule.lag)
