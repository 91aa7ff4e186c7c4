"""The one thread that writes: whatever waits is committed as one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import sqlalchemy as sa

from relay.errors import JournalUnavailable, RelayError
from relay.journal.engine import Engine, error_text
from relay.journal.faults import Fault, report_here, tell
from relay.journal.hooks import Hooks
from relay.journal.tables.facts import put_fact
from relay.journal.tables.statements import Statements
from relay.journal.values import Entry, Settlement
from relay.journal.writer import batch
from relay.journal.writer.availability import Availability
from relay.journal.writer.batch import MOST_BYTES, MOST_JOBS, Alone, refusal
from relay.journal.writer.counters import Tally
from relay.journal.writer.jobs import Ends, Job, Work, give_up, hand_out, owned_by, resolve, size_of
from relay.journal.writer.kept import Kept
from relay.journal.writer.rewind import Witness
from relay.journal.writer.watchdog import Watchdog
from relay.journal.writes.claim import release
from relay.journal.writes.rescue import Lease
from relay.journal.writes.tx import Mismatch, Sums, Tx
from relay.process.clock import Clock

_GRACE = 0.5
"""Seconds that an append whose time is up, but which is being written just now, waits for the truth."""


class Writer:
    """A queue, a thread, and the state of the journal as the thread sees it.

    `died` is called in the thread where that ends and was not told to: nothing can be written any more.
    A batch that takes longer than `patience` seconds hangs, on a disk or a server that stalls: until it
    ends the journal takes no events.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease: Lease,
        node: str,
        clock: Clock,
        hooks: Hooks | None,
        witness: Witness,
        died: Callable[[], None] | None,
        patience: float,
        tick: float,
    ) -> None:
        self._tick = tick
        self._engine = engine
        self._lease = lease
        self._statements = Statements.of(engine.dialect)
        self._node = node
        self._clock = clock
        self._hooks = hooks
        self._witness = witness
        self._died = died
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.at_rest = threading.Lock()  # whoever has it keeps a batch from being begun
        self._kept = Kept(hooks)
        self._rejected = Sums()
        self._availability = Availability(hooks)
        self._patience = patience
        self._watchdog = None if hooks is None else Watchdog(patience)
        self._probe_at = 0.0
        self._stopping = False
        self._ended = False
        self.tally = Tally()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def unavailable_reason(self) -> str | None:
        """Why the journal takes no events now, if so."""
        return self._availability.reason

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread that writes."""
        return self._thread.is_alive()

    def look_first(self) -> None:
        """Learn how far the database is, in a transaction of its own, before the thread begins."""
        self._engine.write(self._begin)
        self._witness.committed(Sums())

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
            resolve([(job, JournalUnavailable("the journal is closed"))], self.forgotten)
            return job
        self._queue.put(job)
        if self._ended:  # between the two lines above
            hand_out(
                [(one, JournalUnavailable("the journal is closed")) for one in self._queued()], self.forgotten
            )
        return job

    def count_rejected(self, source: str) -> None:
        """Add to the ledger a request that was refused, with the next batch or within a second."""
        with self._lock:
            self._rejected.ledger[source, "", "rejected"] += 1

    def withdraw(self, job: Job) -> bool:
        """Take a job back; False when it is in a batch already, or done."""
        with self._lock:
            if not job.taken:
                job.withdraw()
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
            future.get_loop().call_later(_GRACE, give_up, future)

    def forgotten(self, job: Job, result: Any) -> None:
        """What was taken for a caller who is gone must not stay owned: anybody may have it."""
        held = owned_by(job.work, result)
        if held:
            self.submit(partial(release, deliveries=held, interrupted=False), None, keep=True)

    # The thread.

    def _run(self) -> None:
        try:
            while not (self._stopping and self._queue.empty()):
                self._turn()
        except BaseException as error:  # noqa: BLE001 - no thread of ours ends without a word
            self._availability.failure = (
                f"the thread that writes the journal has ended: {type(error).__name__}: {error}"
            )
            self._report(error)
            self._availability.report()
            if self._died is not None:
                tell(self._died)
        finally:
            self._end()

    def _end(self) -> None:
        self._stopping = self._ended = True
        closed = JournalUnavailable("the journal was closed before it could write this")
        hand_out([(job, closed) for job in (*self._kept, *self._queued())], self.forgotten)
        if self._watchdog is not None:
            self._watchdog.end()
        with self.at_rest:
            self._engine.close()

    def _queued(self) -> Iterable[Job]:
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    yield job

    def _turn(self) -> None:
        """Write the next batch; whatever is met, the thread goes on."""
        jobs: list[Job] = []
        ends: Ends = []
        try:
            self._take(jobs)
            with self.at_rest, self._watched():
                ends = self._write_batch(jobs)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
            ends = self._refuse(jobs, self._availability.failure or "")
        except BaseException:
            ends = [(job, JournalUnavailable("the thread that writes the journal has ended")) for job in jobs]
            raise
        finally:
            self._availability.hang = None
            self._availability.report()
            self._kept.report()
            hand_out(ends, self.forgotten)

    def _watched(self) -> AbstractContextManager[None]:
        """Note a batch that hangs: the thread itself cannot say so."""
        return contextlib.nullcontext() if self._watchdog is None else self._watchdog.over(self._note_hang)

    def _note_hang(self) -> None:
        self._availability.hang = (
            f"the journal hangs: its disk or server takes over {self._patience:g} s for a write"
        )
        self._availability.report()

    def _take(self, jobs: list[Job]) -> None:
        """Take the next batch; nothing after `tick` seconds without work."""
        size = 0
        pause = 0.0 if self._stopping else self._tick
        try:
            job = self._queue.get(timeout=pause)
            while True:
                if job is None:
                    self._stopping = True
                else:
                    jobs.append(job)
                    size += size_of(job.work)
                if len(jobs) >= MOST_JOBS or size >= MOST_BYTES:
                    break
                job = self._queue.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            for job in jobs:
                job.taken = not job.withdrawn
        jobs[:] = [job for job in jobs if job.taken]

    def _write_batch(self, jobs: list[Job]) -> Ends:
        if self._availability.failure is not None and not self._probe():
            return self._refuse(jobs, self._availability.failure)
        self._availability.low = self._engine.no_room()
        ends: Ends = []
        if self._availability.low is not None:
            ends = [
                (job, JournalUnavailable(self._availability.low))
                for job in jobs
                if isinstance(job.work, Entry)
            ]
            jobs[:] = [job for job in jobs if not isinstance(job.work, Entry)]
        # Into the list of the turn, which is refused where this raises.
        jobs[:0] = self._kept.take(everything=self._stopping)
        return ends + self._commit(jobs)

    def _refuse(self, jobs: Sequence[Job], why: str) -> Ends:
        self._kept.add(job for job in jobs if job.keep)
        return [(job, JournalUnavailable(why)) for job in jobs if not job.keep]

    def _probe(self) -> bool:
        """Whether the journal takes writes again; tried once a second."""
        if time.monotonic() < self._probe_at and not self._stopping:
            return False
        try:
            self._engine.write(self._rehearse)
            self._witness.committed(Sums())
            self._mark(now=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next second tries again
            self._fail(error)
            return False
        self._availability.failure = None
        return True

    def _rehearse(self, connection: sa.Connection) -> None:
        """Do once what a batch does: a journal that takes a number but no event is none."""
        tx = self._begin(connection)
        batch.rehearse(tx, self._engine.fault_of)
        put_fact(connection, "probed_at", str(tx.now))

    def _mark(self, *, now: bool = False) -> None:
        """Write the mark, which is a witness alone: a bug in it is reported, and stops nobody."""
        try:
            self._engine.mark(now=now)
        except Exception as error:
            if self._engine.fault_of(error) is not Fault.OURS:
                raise
            self._report(error)

    def _commit(self, jobs: list[Job]) -> Ends:
        with self._lock:
            rejected, self._rejected = self._rejected, Sums()
        is_due = self.tally.is_due(last=self._stopping) or self._lease.is_due(self._clock.now())
        if not (jobs or rejected.ledger or is_due):
            self._mark()
            return []
        began = time.monotonic()
        try:
            ends, sums = self._write(jobs, rejected)
        except Exception as error:  # noqa: BLE001 - the thread must live, and say what is wrong
            self._fail(error)
            with self._lock:
                self._rejected.add(rejected)
            return self._refuse(jobs, self._availability.failure or "")
        self._lease.renewal_committed()
        self._witness.committed(sums)  # before its futures resolve
        self.tally.keep(sums)
        if self._hooks is not None:
            tell(self._hooks.committed, len(jobs), time.monotonic() - began)
        self._after(jobs)
        return ends

    def _after(self, jobs: Sequence[Job]) -> None:
        try:
            self._engine.wrote(sum(size_of(job.work) for job in jobs))
        except Exception as error:  # noqa: BLE001 - the thread must live
            # The batch is committed; a checkpoint that fails may mean that fsync does.
            fault = self._engine.fault_of(error)
            if fault is Fault.OURS:
                self._report(error)
            elif fault is not Fault.BUSY:
                self._fail(error)

    def _write(self, jobs: list[Job], rejected: Sums) -> tuple[Ends, Sums]:
        bug: Exception | None = None
        try:
            return self._engine.write(partial(self._all_at_once, jobs, rejected))
        except Mismatch:
            pass
        except Exception as error:
            fault = self._engine.fault_of(error)
            if fault.concerns_all:
                raise
            bug = error if fault is Fault.OURS else None
        alone, sums = self._engine.write(partial(self._one_by_one, jobs, rejected))
        if bug is not None and all(one.failure is None for one in alone):
            self._report(bug)  # else it is that of the one job
        return [end for one in alone for end in self._answers(one)], sums

    def _tx(self, connection: sa.Connection, rejected: Sums) -> Tx:
        tx = self._begin(connection)
        tx.sums.add(rejected)
        if self._lease.is_due(tx.now):
            self._lease.renew(tx)
        return tx

    def _begin(self, connection: sa.Connection) -> Tx:
        """A transaction, which first sees whether the database has what this node knows."""
        tx = Tx(connection, self._statements, self._node, self._clock.now(), self._lease.slot)
        self._witness.begin(tx)
        return tx

    def _all_at_once(self, jobs: list[Job], rejected: Sums, connection: sa.Connection) -> tuple[Ends, Sums]:
        tx = self._tx(connection, rejected)
        ends = batch.all_at_once(tx, jobs)
        self.tally.finish(tx, last=self._stopping)
        return ends, tx.sums

    def _one_by_one(
        self, jobs: list[Job], rejected: Sums, connection: sa.Connection
    ) -> tuple[list[Alone], Sums]:
        tx = self._tx(connection, rejected)
        ends = batch.one_by_one(tx, jobs, self._engine.fault_of)
        self.tally.finish(tx, last=self._stopping)
        return ends, tx.sums

    def _answers(self, alone: Alone) -> Ends:
        """What the caller of a job that was tried by itself hears; nothing yet where it is kept."""
        job, failure = alone.job, alone.failure
        # That the engine refuses a sender's values is the sender's to hear, and nobody else's.
        if failure is not None and failure.fault is Fault.STATEMENT and job.keep:
            self._kept.hold_back(job, error_text(failure.error))
            return []
        is_theirs = (
            failure is not None and failure.fault is Fault.ROW and not isinstance(job.work, Settlement)
        )
        if failure is not None and not (is_theirs or isinstance(failure.error, RelayError)):
            self._report(failure.error, job)
        if failure is None or alone.done:
            return [(job, alone.result)]
        return [(job, refusal(job.work, failure, bare=self._hooks is None))]

    def _fail(self, error: Exception) -> None:
        """Take no more writes until a probe succeeds."""
        fault = self._engine.fault_of(error)
        if fault is Fault.OURS:
            self._report(error)
        self._availability.failure = f"the journal cannot be written: {error_text(error)}"
        self._probe_at = time.monotonic() + self._tick
        if fault is not Fault.BUSY:
            self._engine.discard()

    def _report(self, error: BaseException, job: Job | None = None) -> None:
        """Report a bug of Relay's own with its traceback."""
        if self._hooks is None:
            report_here(error)
            return
        ended = job.work.delivery.id if job is not None and isinstance(job.work, Settlement) else None
        tell(partial(self._hooks.internal_error, where="journal", error=error, delivery_id=ended))
