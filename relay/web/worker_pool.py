"""Keeps the workers alive: starts them, asks them for their metrics, replaces the dead, ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.config import Settings
from relay.process.lock_holder import holders
from relay.telemetry import Telemetry
from relay.telemetry.multiprocess import Totals
from relay.web.uvicorn_server import either
from relay.web.worker_channel import Channel

REFUSED = 2
"""The exit code of a worker that refuses its configuration or its journal; it has said why."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before another takes a dead worker's place, doubled from death to death."""

SOUND = 60.0
"""Seconds after which a worker's death is the first one again."""

ASK_EVERY = 1.0
"""Seconds of counting that a worker killed outright takes along at most."""

PATIENCE = 20.0
"""Seconds that those that can serve wait for the others, at the start."""

SILENT_WITH_LOCK = 4
"""Times in a row for one that holds the journal's lock all the while: nobody can write meanwhile."""

LOOKS = 3
"""The last of these times at which it must hold it: a worker that is busy holds it now and then."""

ANSWER_WITHIN = 5.0
"""Seconds that a scrape waits for a worker; then what it said before must do."""

EXIT_TIMEOUT = 6.0
"""Seconds beyond the grace in which a worker ends; the rest is killed, and rescued at the next start."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One process; another that takes its place has the same number and another serial."""

    number: int
    serial: int
    patience: float
    process: Process
    channel: Channel
    ready: bool = False
    listens: bool = False
    reload_due: bool = False
    unanswered: int = 0
    locks: tuple[Path, ...] = ()
    locked: int = 0
    hung: bool = False
    asked: dict[int, asyncio.Future[None]] = field(default_factory=dict)

    @property
    def is_hung(self) -> bool:
        """Whether it has been silent for so long that another must take its place."""
        holds = self.unanswered >= SILENT_WITH_LOCK and self.locked >= LOOKS
        return holds or self.unanswered * ASK_EVERY >= self.patience

    def look(self) -> None:
        """Count at how many looks in a row, in which it was silent, it held a lock of the journal."""
        held = self.unanswered > 0 and any(self.process.pid in holders(lock) for lock in self.locks)
        self.locked = self.locked + 1 if held else 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; to nobody, where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class WorkerPool:
    """So many workers on one configuration; `totals` has their metrics.

    turns  the descriptor by which they take turns at standard output
    """

    def __init__(
        self, *, settings: Settings, watch: bool, turns: int, telemetry: Telemetry, totals: Totals
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._turns = turns
        self._telemetry = telemetry
        self._totals = totals
        self._workers: list[_Worker] = []
        self._serials = itertools.count(1)
        self._asks = itertools.count(1)
        self._begun = asyncio.Event()
        self._settled: set[int] = set()
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> int:
        """Keep them alive until `stop`, which is set here too where they cannot go on; the exit code.

        The first worker begins alone: it makes the journal's tables, and tells of mistakes once. None
        listens before all can, or the first would have every connection that is made meanwhile.
        """
        self._stop = stop
        keepers = [asyncio.create_task(self._keep(number)) for number in range(1, self._settings.workers + 1)]
        beside = [asyncio.create_task(work()) for work in (stop.wait, self._ask_all, self._lose_patience)]
        await asyncio.wait({beside[0], *keepers}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        code = await self._end(keepers)
        for task in beside:
            task.cancel()
        return code

    async def refresh(self) -> None:
        """Bring `totals` up to date; one of the workers looks at the journal for all."""
        ready = sorted((one for one in self._workers if one.ready), key=lambda one: one.unanswered)
        await asyncio.gather(*(self._ask(one, look=one is ready[0]) for one in ready))

    async def reload(self) -> None:
        """Have every worker take the file anew; one that is starting, when it is ready."""
        for one in self._workers:
            if one.ready:
                one.signal(signal.SIGHUP)
            else:
                one.reload_due = True

    async def _keep(self, number: int) -> int:
        """Have one worker of this number until all stop; ends earlier only where none can begin."""
        deaths = 0
        while not self._stop.is_set():
            began = time.monotonic()
            worker = await self._start(number)
            code = await self._attend(worker)
            if self._stop.is_set():
                break
            is_first = number == 1 and not self._begun.is_set()
            if is_first or (code == REFUSED and not self._workers):
                return code if code > 0 else 1
            deaths = 1 if time.monotonic() - began > SOUND else deaths + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(deaths - 1, 10))
            how = _how_hung(worker) if worker.hung else _how(code)
            self._telemetry.worker_ended(worker=number, pid=worker.process.pid, how=how, pause=pause)
            await self._rest(pause)
        return 0

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until all stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._spawn(theirs)
        channel = await Channel.on(ours)
        worker = _Worker(
            number=number,
            serial=next(self._serials),
            patience=self._settings.times.worker_silent,
            process=process,
            channel=channel,
        )
        self._workers.append(worker)
        if number > 1:
            await either(self._begun.wait(), self._stop.wait())
        channel.send(
            {
                "worker": number,
                "turns": self._turns,
                "watch": self._watch,
                "settings": self._settings.model_dump(mode="json", exclude={"admin_token"}),
            }
        )
        if self._stop.is_set():
            worker.signal(signal.SIGTERM)
        return worker

    async def _spawn(self, end: socket.socket) -> Process:
        """A new process with this end of the pair as its standard input."""
        while True:
            try:
                return await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "relay", "worker", stdin=end.fileno(), pass_fds=(self._turns,)
                )
            except OSError as error:
                # Memory or processes are short, which passes: those that serve must not end of it.
                if not self._workers:
                    raise
                self._telemetry.internal_error(where="workers", error=error)
                await self._rest(LONGEST_PAUSE)

    async def _attend(self, worker: _Worker) -> int:
        """Hear what a worker says until it ends; the exit code, or a signal's number below zero."""
        hearing = asyncio.create_task(self._hear(worker))
        code = await worker.process.wait()
        await asyncio.wait({hearing}, timeout=1.0)  # its last words are in the socket
        hearing.cancel()
        self._workers.remove(worker)
        self._totals.forget(worker.serial)
        await worker.channel.close()
        self._settle(worker.number)
        return code

    async def _hear(self, worker: _Worker) -> None:
        while (said := await worker.channel.receive()) is not None:
            worker.unanswered = 0
            try:
                self._note(worker, said)
            except Exception as error:  # noqa: BLE001 - a worker that nobody hears would be taken for hung
                self._telemetry.internal_error(where="workers", error=error)

    def _note(self, worker: _Worker, said: Mapping[str, Any]) -> None:
        """Do what follows from what a worker said."""
        if "ready" in said:
            worker.ready = True
            worker.locks = tuple(Path(lock) for lock in said["locks"])
            self._begun.set()
            self._settle(worker.number)
            if worker.reload_due:
                worker.signal(signal.SIGHUP)
        if "families" in said:
            self._totals.note(worker.serial, said["families"], looked=said["looked"])
        waiting = worker.asked.pop(said.get("asked", 0), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _settle(self, *numbers: int) -> None:
        """Have those that can listen do so, once every number has got that far, or failed to."""
        self._settled.update(numbers)
        if len(self._settled) == self._settings.workers:
            for one in self._workers:
                if one.ready and not one.listens:
                    one.listens = True
                    one.channel.send({"listen": True})

    async def _lose_patience(self) -> None:
        await self._begun.wait()
        await asyncio.sleep(PATIENCE)
        self._settle(*range(1, self._settings.workers + 1))

    async def _ask(self, worker: _Worker, *, look: bool) -> None:
        number = next(self._asks)
        worker.asked[number] = asyncio.get_running_loop().create_future()
        worker.channel.send({"ask": number, "look": look})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.asked[number], ANSWER_WITHIN)
        worker.asked.pop(number, None)

    async def _ask_all(self) -> None:
        """Ask every worker for its metrics again and again, and end one that is hung."""
        while True:
            await asyncio.sleep(ASK_EVERY)
            for one in self._workers:
                try:
                    _ask_or_end(one)
                except Exception as error:  # noqa: BLE001 - the others must be asked, and this one next time
                    self._telemetry.internal_error(where="workers", error=error)

    async def _end(self, keepers: list[asyncio.Task[int]]) -> int:
        """End every worker within the grace; the exit code of all."""
        for one in self._workers:
            one.signal(signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=self._settings.grace + EXIT_TIMEOUT)
        for one in self._workers:
            one.signal(signal.SIGKILL)
        codes = await asyncio.gather(*keepers)
        return max(1 if late else 0, *codes)


def _ask_or_end(worker: _Worker) -> None:
    worker.look()
    if worker.is_hung:
        worker.hung = True
        worker.signal(signal.SIGKILL)
    elif worker.ready:
        worker.unanswered += 1
        worker.channel.send({"ask": 0, "look": False})


def _how_hung(worker: _Worker) -> str:
    with_lock = " and held the journal's lock" if worker.locked else ""
    return f"a signal, since it was hung{with_lock}"


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
