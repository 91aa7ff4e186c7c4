"""The composition root: builds the parts, starts them in order, keeps house, and drains them."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Awaitable, Callable

from uuid_utils import uuid7

from relay.clock import Clock
from relay.config import Configuration, Settings
from relay.dispatch import Courier, Dispatcher
from relay.egress import Egress
from relay.errors import JournalUnavailable
from relay.ingest import Ingest
from relay.journal import Journal, Reader
from relay.telemetry import Telemetry

RESCUE_EVERY = 10.0
PURGE_EVERY = 60.0
LEDGER_EVERY = 60.0


class Service:
    """One running Relay: ingest on one side, the dispatcher on the other, the journal between."""

    def __init__(self, *, settings: Settings, configuration: Configuration, telemetry: Telemetry) -> None:
        self.settings = settings
        self.configuration = configuration
        self.telemetry = telemetry
        self.clock = Clock()
        self.ready = False
        self._egress = Egress()
        self._released = 0
        self._chores: list[asyncio.Task[None]] = []
        self.journal: Journal
        self.ingest: Ingest
        self.dispatcher: Dispatcher
        self._reader: Reader

    async def start(self) -> None:
        """Open the journal, take back what a dead process held, and begin to deliver."""
        settings = self.settings
        began = time.perf_counter()
        node = uuid7().hex
        self.telemetry.bind(node=node)
        self.journal = await asyncio.to_thread(
            Journal.open,
            settings.journal,
            clock=self.clock,
            node=node,
            hooks=self.telemetry,
        )
        self._reader = Reader.open(settings.journal)
        await self._rescue()
        await self.journal.wake()
        await self._egress.__aenter__()
        courier = Courier(
            configuration=self.configuration,
            journal=self.journal,
            egress=self._egress,
            telemetry=self.telemetry,
            clock=self.clock,
            rng=random.Random(),  # noqa: S311 - jitter, not a secret
        )
        self.dispatcher = Dispatcher(
            self.configuration.destinations.values(),
            courier=courier,
            journal=self.journal,
            telemetry=self.telemetry,
            clock=self.clock,
        )
        self.ingest = Ingest(
            configuration=self.configuration,
            journal=self.journal,
            dispatcher=self.dispatcher,
            telemetry=self.telemetry,
            clock=self.clock,
            max_backlog=settings.max_backlog,
        )
        self.dispatcher.start()
        for chore, pause in (
            (self._rescue, RESCUE_EVERY),
            (self._purge, PURGE_EVERY),
            (self._audit, LEDGER_EVERY),
        ):
            self._chores.append(asyncio.create_task(self._repeat(chore, pause)))
        self.ready = True
        self.telemetry.service_ready(duration_ms=_ms(time.perf_counter() - began))

    async def drain(self) -> None:
        """Give what is in flight the grace, and release the rest for whoever comes next."""
        self.ready = False
        self.telemetry.service_draining(in_flight=len(self.dispatcher.held), grace=self.settings.grace)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        self._released = await self.dispatcher.drain(self.settings.grace)

    async def close(self) -> None:
        """Close connections and the journal; nothing may be under way any more."""
        await self._egress.__aexit__(None, None, None)
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self.journal.close)
        self.telemetry.service_stopped(released=self._released)

    async def refresh_metrics(self) -> None:
        """Bring the gauges up to date from the journal; called before each scrape."""
        status = await asyncio.to_thread(self._reader.status)
        self.telemetry.refresh(
            now=self.clock.now(),
            status=status,
            journal_bytes=status.bytes,
            disk_free=shutil.disk_usage(self.journal.folder).free,
        )

    async def _repeat(self, chore: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                await chore()
            except JournalUnavailable:
                continue  # told once, when it began
            except Exception as error:  # noqa: BLE001 - tomorrow's chore must not die of today's journal
                self.telemetry.internal_error(where=chore.__name__.strip("_"), error=error)

    async def _rescue(self) -> None:
        held = self.dispatcher.held if self.ready else frozenset()
        for rescued in await self.journal.rescue(held):
            self.telemetry.delivery_rescued(rescued=rescued)
            if self.ready and not rescued.dead:
                self.dispatcher.nudge(rescued.destination)

    async def _purge(self) -> None:
        began = time.perf_counter()
        purged = await self.journal.purge(self.configuration.retention, self.clock.now())
        if purged.events or purged.deliveries:
            self.telemetry.retention_purged(
                duration_ms=_ms(time.perf_counter() - began),
                events=purged.events,
                deliveries=purged.deliveries,
            )

    async def _audit(self) -> None:
        ledger = await asyncio.to_thread(self._reader.ledger)
        self.telemetry.ledger_audited(imbalance=ledger.imbalance)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)
