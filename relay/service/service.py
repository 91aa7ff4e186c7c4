"""The composition root: builds the parts, starts them in order, gives them a new file, and drains them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from functools import partial

from uuid_utils import uuid7

from relay.alerts import Alerts, Watch
from relay.config import Configuration, Settings
from relay.dispatch import AttemptRunner, Bodies, Dispatcher
from relay.egress import Egress
from relay.errors import JournalUnavailable
from relay.ingest import Ingest
from relay.journal import Journal, Reader
from relay.process.body_memory import BodyMemory
from relay.process.clock import Clock
from relay.service.housekeeping import Chores
from relay.service.order_keeper import OrderKeeper
from relay.service.reload import FOLLOW_EVERY, Reloader
from relay.source_verifier import Verifier
from relay.telemetry import Telemetry

CLOSE_TIMEOUT = 1.0
"""Seconds for the last alerts at the end, and again for the journal to close; it may take no writes."""

REFRESH_WITHIN = 4.0
"""Seconds that a scrape waits for the journal's figures; Prometheus itself waits 10."""


class Service:
    """One running Relay: ingest on one side, the dispatcher on the other, the journal between."""

    def __init__(self, *, settings: Settings, configuration: Configuration, telemetry: Telemetry) -> None:
        self.settings = settings
        self.configuration = configuration
        self.telemetry = telemetry
        self.clock = Clock()
        self.memory = BodyMemory()
        self.node = uuid7().hex
        telemetry.bind(node=self.node)
        self.ready = False
        self.broken = asyncio.Event()
        self._began = 0.0
        self._released = 0
        self._on_apply: list[Callable[[Configuration], None]] = []
        self._watching: asyncio.Task[None] | None = None
        self.journal: Journal
        self.ingest: Ingest
        self.dispatcher: Dispatcher
        self.verifier: Verifier
        self.reloader: Reloader
        self._egress: Egress
        self._attempt_runner: AttemptRunner
        self._alerts: Alerts
        self._watch: Watch
        self._reader: Reader
        self._chores: Chores

    async def start(self, *, watch: bool = False) -> None:
        """Open the journal, take back what a dead process held, and begin to deliver."""
        self._began = time.perf_counter()
        self.journal = await asyncio.to_thread(
            Journal.open,
            self.settings.journal,
            clock=self.clock,
            node=self.node,
            hooks=self.telemetry,
            died=partial(_from_a_thread, asyncio.get_running_loop(), self._break),
            times=self.settings.times,
        )
        self._reader = Reader.open(self.settings.journal)
        self._build()
        self._build_beside()
        await self._chores.rescue()
        await self._egress.__aenter__()
        await self.reloader.begin()
        await self.dispatcher.start()
        self._chores.start()
        self._chores.repeat(self.reloader.follow, FOLLOW_EVERY)
        if watch:
            self._watching = asyncio.create_task(self.reloader.watch())
        self.ready = True

    def _break(self) -> None:
        """The journal's thread is dead, and this process of no more use; who watches it starts another."""
        self.ready = False
        self.broken.set()

    async def tell_ready(self) -> None:
        """Say that events are taken from now on, and how many nodes there are.

        Who finds more of them than were meant has started a second service on the same journal.
        """
        took = time.perf_counter() - self._began
        nodes = len(await self.journal.living())
        self.telemetry.service_ready(duration_ms=round(took * 1e3, 1), nodes=nodes)

    def _build(self) -> None:
        """Make the parts on an event's way, each with those that it needs; the journal is open."""
        configuration, telemetry = self.configuration, self.telemetry
        self._egress = Egress(configuration.egress)
        self.verifier = Verifier(self._egress.fetch, self.clock)
        self._attempt_runner = AttemptRunner(
            configuration=configuration,
            journal=self.journal,
            egress=self._egress,
            telemetry=telemetry,
            clock=self.clock,
            rng=random.Random(),  # noqa: S311 - jitter, not a secret
        )
        self.dispatcher = Dispatcher(
            configuration.destinations.values(),
            attempt_runner=self._attempt_runner,
            journal=self.journal,
            telemetry=telemetry,
            clock=self.clock,
            bodies=Bodies(self.memory),
            times=self.settings.times,
        )
        self.ingest = Ingest(
            configuration=configuration,
            verifier=self.verifier,
            journal=self.journal,
            dispatcher=self.dispatcher,
            telemetry=telemetry,
            clock=self.clock,
            max_backlog=self.settings.max_backlog,
        )

    def _build_beside(self) -> None:
        """Make the parts beside that way: alerts, chores, and the next file."""
        configuration, telemetry = self.configuration, self.telemetry
        self._alerts = Alerts(
            configuration=configuration,
            journal=self.journal,
            nudge=self.dispatcher.nudge,
            telemetry=telemetry,
            clock=self.clock,
        )
        telemetry.listen(self._alerts.note)
        self._watch = Watch(configuration=configuration, telemetry=telemetry, clock=self.clock)
        self._chores = Chores(
            journal=self.journal,
            reader=self._reader,
            dispatcher=self.dispatcher,
            alerts=self._alerts,
            watch=self._watch,
            telemetry=telemetry,
            clock=self.clock,
            retention=configuration.retention,
            times=self.settings.times,
        )
        self.reloader = Reloader(
            path=self.settings.config,
            configuration=configuration,
            journal=self.journal,
            telemetry=telemetry,
            orders=OrderKeeper(
                journal=self.journal,
                telemetry=telemetry,
                wait=self.ingest.wait_behind,
                wake=self.dispatcher.wake,
            ),
            apply=self.apply,
        )

    def on_apply(self, callback: Callable[[Configuration], None]) -> None:
        """Have `callback` called with each configuration that takes over, in the event loop."""
        self._on_apply.append(callback)

    def apply(self, configuration: Configuration) -> None:
        """Let another configuration take over, between two events: nothing here waits or fails.

        Work in flight keeps the configuration that it started with; no connection is dropped.
        """
        self.configuration = configuration
        self._egress.replace(configuration.egress)
        self._attempt_runner.replace(configuration)
        self.dispatcher.replace(configuration)
        self.ingest.replace(configuration)
        self._alerts.replace(configuration)
        self._watch.replace(configuration)
        self._chores.retention = configuration.retention
        for callback in self._on_apply:
            callback(configuration)

    async def drain(self) -> None:
        """Give what is in flight the grace, and release the rest for whoever comes next."""
        self.ready = False
        # What is in flight cannot be written down where the journal's thread is dead.
        grace = 0.0 if self.broken.is_set() else self.settings.grace
        self.telemetry.service_draining(in_flight=len(self.dispatcher.held), grace=grace)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._chores.stop()
        self._released = await self.dispatcher.drain(grace)
        with contextlib.suppress(JournalUnavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._alerts.flush()

    async def close(self) -> None:
        """Close connections and the journal; nothing may be under way any more."""
        await self._egress.__aexit__(None, None, None)
        await asyncio.to_thread(self._reader.close)
        await _within(CLOSE_TIMEOUT, self.journal.close)
        self.telemetry.service_stopped(released=self._released)

    async def refresh_metrics(self) -> None:
        """Bring the gauges up to date from the journal; called before each scrape.

        While it cannot be read they stay as they were: the counters are worth the most just then.
        """
        with contextlib.suppress(Exception):  # what is wrong is told by `journal.unavailable`, once
            await asyncio.wait_for(self._chores.refresh_metrics(), REFRESH_WITHIN)


def _from_a_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(act)


async def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do something in a thread; one that takes longer is left behind, and ends with the process.

    A journal that another program holds is closed as a crash would close it: that loses nothing.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            _from_a_thread(loop, done.set)

    threading.Thread(target=run, name="close", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
