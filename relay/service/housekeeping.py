"""What a service does again and again beside its work: rescue, purge, audit, look who is silent or slow."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable

from relay.alerts import Alerts, Watch
from relay.config import Retention
from relay.dispatch import Dispatcher
from relay.errors import JournalUnavailable, JournalUnreadable
from relay.journal import Journal, Reader
from relay.lease_times import TIMES, Times
from relay.problems import Disk
from relay.process.clock import Clock
from relay.telemetry import Telemetry


class Chores:
    """The housekeeping of one process; `start` begins it, `stop` ends it.

    `retention` may be set anew while it runs.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        reader: Reader,
        dispatcher: Dispatcher,
        alerts: Alerts,
        watch: Watch,
        telemetry: Telemetry,
        clock: Clock,
        retention: Retention,
        times: Times = TIMES,
    ) -> None:
        self._times = times
        self.retention = retention
        self._journal = journal
        self._reader = reader
        self._dispatcher = dispatcher
        self._alerts = alerts
        self._watch = watch
        self._telemetry = telemetry
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, each chore after its first pause."""
        self.repeat(self.rescue, self._times.rescue)
        for look in (self._look_at_disk, self._look, self._look_at_pin):
            self.repeat(look, self._times.look, first=self._times.first_look)
        self.repeat(self._purge, self._times.purge)
        self.repeat(self._audit, self._times.audit)
        self._tasks.append(asyncio.create_task(self._alerts.run()))

    def repeat(
        self, chore: Callable[[], Awaitable[None]], pause: float, *, first: float | None = None
    ) -> None:
        """Have one more thing done every `pause` seconds, the first time after `first`, come what may."""
        self._tasks.append(asyncio.create_task(self._repeat(chore, pause, pause if first is None else first)))

    async def stop(self) -> None:
        """End; a chore that is under way is cut off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def rescue(self) -> None:
        """Take back what a process that is gone held, and what this one holds without knowing."""
        for rescued in await self._journal.rescue(self._dispatcher.held):
            self._telemetry.delivery_rescued(rescued=rescued)
            if not rescued.dead:
                self._dispatcher.nudge(rescued.destination)

    async def refresh_metrics(self) -> None:
        """Bring the gauges up to date from the journal."""
        status = await asyncio.to_thread(self._reader.status)
        self._telemetry.refresh(
            now=self._clock.now(),
            status=status,
            journal_bytes=status.bytes,
            disk_free=None if (disk := self._disk()) is None else disk.free,
        )

    async def _repeat(self, chore: Callable[[], Awaitable[None]], pause: float, first: float) -> None:
        name = chore.__name__.strip("_")
        is_blind = False
        wait = first
        while True:
            await asyncio.sleep(wait)
            wait = pause
            try:
                await chore()
            except JournalUnreadable as error:
                # While it takes no writes either, that is what was reported.
                if not is_blind and self._journal.available:
                    is_blind = True
                    self._telemetry.chore_blind(chore=name, error=str(error))
            except JournalUnavailable:
                continue  # the journal reports it, once
            except Exception as error:  # noqa: BLE001 - one failure must not stop the loop
                self._telemetry.internal_error(where=name, error=error)
            else:
                if is_blind:
                    is_blind = False
                    self._telemetry.chore_sees(chore=name)

    async def _look(self) -> None:
        self._watch.look(await asyncio.to_thread(self._reader.status))

    async def _look_at_disk(self) -> None:
        self._watch.look_at_disk(self._disk())

    async def _look_at_pin(self) -> None:
        self._watch.look_at_pin(await asyncio.to_thread(self._reader.pinned))

    def _disk(self) -> Disk | None:
        """The journal's disk; none of this machine's where it lies on a server, which watches its own."""
        folder = self._journal.folder
        return None if folder is None else shutil.disk_usage(folder)

    async def _purge(self) -> None:
        began = time.perf_counter()
        purged = await self._journal.purge(self.retention, self._clock.now())
        if purged.events or purged.deliveries:
            self._telemetry.retention_purged(
                duration_ms=round((time.perf_counter() - began) * 1e3, 1),
                events=purged.events,
                deliveries=purged.deliveries,
            )

    async def _audit(self) -> None:
        ledger = await asyncio.to_thread(self._reader.ledger)
        self._telemetry.ledger_audited(imbalance=ledger.imbalance)
