"""The one thread that writes: whatever waits is committed as one transaction."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from relay.clock import Clock
from relay.errors import JournalUnavailable, RowRefused
from relay.journal import lanes
from relay.journal.append import append_many, append_one
from relay.journal.claim import release
from relay.journal.engine import Engine, Lease, words_of
from relay.journal.schema import meta
from relay.journal.settle import settle_many, settle_one
from relay.journal.statements import Statements
from relay.journal.tally import Tally
from relay.journal.tx import Sums, Tx
from relay.journal.values import Claim, Entry, Hooks, Receipt, Settlement
from relay.model import Delivery

_MOST_JOBS = 256
_MOST_BYTES = 16 * 1024 * 1024
_TICK = 1.0
_GRACE = 0.5
"""Seconds that an append whose time is up, but which is being written just now, waits for the truth."""

Work = Entry | Settlement | Callable[[Tx], Any]


@dataclass(slots=True, eq=False)
class Job:
    """One thing to write, and the future that waits for it; `keep`: tried until it succeeds."""

    work: Work
    future: asyncio.Future[Any] | None
    keep: bool
    taken: bool = False
    withdrawn: bool = False


Ends = list[tuple[Job, Any]]
"""Jobs with their results; an exception is raised where the job is awaited."""


class Writer:
    """A queue, a thread, and the state of the journal as the thread sees it."""

    def __init__(self, engine: Engine, *, lease: Lease, node: str, clock: Clock, hooks: Hooks | None) -> None:
        self._engine = engine
        self._lease = lease
        self._statements = Statements.of(engine.dialect)
        self._node = node
        self._clock = clock
        self._hooks = hooks
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._kept: list[Job] = []
        self._rejected = Sums()
        self._failure: str | None = None
        self._low: str | None = None
        self._announced: str | None = None
        self._probe_at = 0.0
        self._stopping = False
        self.tally = Tally()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why the journal takes no events now, if so."""
        return self._failure or self._low

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end; what cannot be written then is given up."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, work: Work, future: asyncio.Future[Any] | None, *, keep: bool) -> Job:
        """Have something written; the future is resolved after the commit."""
        job = Job(work, future, keep)
        if self._stopping:
            _resolve([(job, JournalUnavailable("the journal is closed"))], self)
            return job
        self._queue.put(job)
        return job

    def count_rejected(self, source: str) -> None:
        """Add to the ledger a request that was refused, with the next batch or within a second."""
        with self._lock:
            self._rejected.ledger[source, "", "rejected"] += 1

    def withdraw(self, job: Job) -> bool:
        """Take a job back; False when it is in a batch already, or done."""
        with self._lock:
            if not job.taken:
                job.withdrawn = True
            return job.withdrawn

    def expire(self, job: Job) -> None:
        """The time of an append is up: its sender is told to come again."""
        future = job.future
        if future is None or future.done():
            return
        if self.withdraw(job):
            future.set_exception(
                JournalUnavailable("the journal did not get to it in time; nothing was stored")
            )
        else:
            future.get_loop().call_later(_GRACE, _give_up, future)

    def forgotten(self, job: Job, result: Any) -> None:
        """What was taken for a caller who is gone must not stay owned: anybody may have it."""
        held: list[Delivery] = []
        if isinstance(result, Receipt) and isinstance(job.work, Entry) and result.kind == "stored":
            held = [delivery for delivery in job.work.deliveries if delivery.owner is not None]
        elif isinstance(result, list):
            held = [one.delivery for one in result if isinstance(one, Claim)]
        if held:
            self.submit(partial(release, deliveries=held, interrupted=False), None, keep=True)

    def _run(self) -> None:
        while True:
            jobs = self._take()
            self._turn(jobs)
            if self._stopping and self._queue.empty():
                break
        closed = JournalUnavailable("the journal was closed before it could write this")
        _hand_out([(job, closed) for job in self._kept], self)
        self._engine.close()

    def _take(self) -> list[Job]:
        """The next batch; nothing after a second without work."""
        jobs: list[Job] = []
        size = 0
        pause = 0.0 if self._stopping else _TICK
        try:
            job = self._queue.get(timeout=pause)
            while True:
                if job is None:
                    self._stopping = True
                else:
                    jobs.append(job)
                    size += _size(job.work)
                if len(jobs) >= _MOST_JOBS or size >= _MOST_BYTES:
                    break
                job = self._queue.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            for job in jobs:
                job.taken = not job.withdrawn
        return [job for job in jobs if job.taken]

    def _turn(self, jobs: list[Job]) -> None:
        ends: Ends = []
        try:
            if self._failure is not None and not self._probe():
                ends = self._refuse(jobs, self._failure)
                return
            self._low = self._engine.no_room()
            if self._low is not None:
                entries = [job for job in jobs if isinstance(job.work, Entry)]
                ends = [(job, JournalUnavailable(self._low)) for job in entries]
                jobs = [job for job in jobs if not isinstance(job.work, Entry)]
            jobs = self._kept + jobs
            self._kept = []
            ends += self._commit(jobs)
        finally:
            self._announce()
            _hand_out(ends, self)

    def _refuse(self, jobs: Sequence[Job], why: str) -> Ends:
        self._kept += [job for job in jobs if job.keep]
        return [(job, JournalUnavailable(why)) for job in jobs if not job.keep]

    def _probe(self) -> bool:
        """Whether the journal takes writes again; tried once a second."""
        if time.monotonic() < self._probe_at and not self._stopping:
            return False
        try:
            self._engine.write(self._touch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next second tries again
            self._fail(error)
            return False
        self._failure = None
        return True

    def _touch(self, connection: sa.Connection) -> None:
        now = str(self._clock.now())
        touched = sa.update(meta).where(meta.c.key == "probed_at").values(value=now)
        connection.execute(touched)

    def _commit(self, jobs: list[Job]) -> Ends:
        with self._lock:
            rejected, self._rejected = self._rejected, Sums()
        is_due = self.tally.is_due(last=self._stopping) or self._lease.is_due(self._clock.now())
        if not (jobs or rejected.ledger or is_due):
            self._engine.mark()
            return []
        began = time.monotonic()
        try:
            ends, sums = self._write(jobs, rejected)
        except Exception as error:  # noqa: BLE001 - the thread must live, and say what is wrong
            self._fail(error)
            with self._lock:
                self._rejected.add(rejected)
            return self._refuse(jobs, self._failure or "")
        self._lease.kept()
        self.tally.keep(sums)
        if self._hooks is not None:
            _tell(self._hooks.committed, len(jobs), time.monotonic() - began)
        self._after(jobs)
        return ends

    def _after(self, jobs: Sequence[Job]) -> None:
        try:
            self._engine.wrote(sum(_size(job.work) for job in jobs))
        except Exception as error:  # noqa: BLE001 - the thread must live
            # The batch is committed; a checkpoint that fails may mean that fsync does.
            if not self._engine.is_busy(error):
                self._fail(error)

    def _write(self, jobs: list[Job], rejected: Sums) -> tuple[Ends, Sums]:
        try:
            return self._engine.write(partial(self._all_at_once, jobs, rejected))
        except Exception as error:
            if self._engine.is_trouble(error):
                raise
            return self._engine.write(partial(self._one_by_one, jobs, rejected))

    def _tx(self, connection: sa.Connection, rejected: Sums) -> Tx:
        tx = Tx(connection, self._statements, self._node, self._clock.now(), self._lease.slot)
        tx.sums.add(rejected)
        if self._lease.is_due(tx.now):
            self._lease.renew(tx)
        return tx

    def _all_at_once(self, jobs: list[Job], rejected: Sums, connection: sa.Connection) -> tuple[Ends, Sums]:
        tx = self._tx(connection, rejected)
        lanes.reserve(tx, _deliveries(jobs))
        ends: Ends = []
        appends = [(job, job.work) for job in jobs if isinstance(job.work, Entry)]
        settles = [(job, job.work) for job in jobs if isinstance(job.work, Settlement)]
        if appends:
            receipts = append_many(tx, [entry for _, entry in appends])
            ends += [(job, receipt) for (job, _), receipt in zip(appends, receipts, strict=True)]
        if settles:
            settled = settle_many(tx, [settlement for _, settlement in settles])
            ends += [(job, done) for (job, _), done in zip(settles, settled, strict=True)]
        for job in jobs:
            if not isinstance(job.work, Entry | Settlement):
                ends.append((job, job.work(tx)))
        self.tally.finish(tx, last=self._stopping)
        return ends, tx.sums

    def _one_by_one(self, jobs: list[Job], rejected: Sums, connection: sa.Connection) -> tuple[Ends, Sums]:
        tx = self._tx(connection, rejected)
        lanes.reserve(tx, _deliveries(jobs))
        ends = [(job, self._alone(tx, job)) for job in sorted(jobs, key=_rank)]
        self.tally.finish(tx, last=self._stopping)
        return ends, tx.sums

    def _alone(self, tx: Tx, job: Job) -> Any:
        part = tx.part()
        try:
            with tx.connection.begin_nested():
                result = _do(part, job.work)
        except Exception as error:
            if self._engine.is_trouble(error):
                raise
            if isinstance(job.work, Entry | Settlement):
                return RowRefused(f"the engine refuses this row: {words_of(error)}")
            return error
        tx.sums.add(part.sums)
        return result

    def _fail(self, error: Exception) -> None:
        self._failure = f"the journal cannot be written: {words_of(error)}"
        self._probe_at = time.monotonic() + _TICK
        if not self._engine.is_busy(error):
            self._engine.discard()

    def _announce(self) -> None:
        trouble = self.trouble
        if self._hooks is None or (trouble is None) == (self._announced is None):
            return
        self._announced = trouble
        if trouble is None:
            _tell(self._hooks.recovered)
        else:
            _tell(self._hooks.unavailable, trouble)


def _tell(hook: Callable[..., None], *facts: object) -> None:
    """Tell somebody whose own trouble must not stop the writing, nor keep a receipt from its sender."""
    try:
        hook(*facts)
    except Exception:  # noqa: BLE001 - as above; Python's own hook for threads reports it
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _do(tx: Tx, work: Work) -> Any:
    if isinstance(work, Entry):
        return append_one(tx, work)
    if isinstance(work, Settlement):
        return settle_one(tx, work)
    return work(tx)


def _deliveries(jobs: Sequence[Job]) -> Iterator[Delivery]:
    for job in jobs:
        if isinstance(job.work, Entry):
            yield from job.work.deliveries
        elif isinstance(job.work, Settlement):
            yield job.work.delivery


def _rank(job: Job) -> tuple[int, str, str]:
    """First what is stored, in the order of the keys that it locks; then what is settled; then the rest."""
    if isinstance(job.work, Entry):
        return (0, job.work.event.source, "" if job.work.dedup is None else job.work.dedup.key)
    return (1, "", "") if isinstance(job.work, Settlement) else (2, "", "")


def _size(work: Work) -> int:
    if isinstance(work, Entry):
        return len(work.event.body) + 2048
    if isinstance(work, Settlement):
        return len(work.attempt.response) + 1024
    return 4096


def _hand_out(ends: Ends, writer: Writer) -> None:
    """Resolve futures, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, Ends] = {}
    for job, result in ends:
        if job.future is not None:
            by_loop.setdefault(job.future.get_loop(), []).append((job, result))
    for loop, ours in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, ours, writer)


def _resolve(ends: Ends, writer: Writer) -> None:
    for job, result in ends:
        future = job.future
        if future is None:
            continue
        if future.done():
            writer.forgotten(job, result)
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(
            JournalUnavailable("the journal hangs while writing; it may or may not be stored")
        )
