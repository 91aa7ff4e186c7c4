"""The journal as the service and the commands see it: ask, await, and it is on disk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import sqlalchemy as sa

from relay.errors import JournalUnavailable
from relay.journal import losses, purge
from relay.journal.destinations import Destinations
from relay.journal.engine import Engine
from relay.journal.hooks import Hooks
from relay.journal.losses import Loss
from relay.journal.opening import open_engine
from relay.journal.reads.status import pending_by_destination
from relay.journal.tables import versioning
from relay.journal.values import (
    Claim,
    Entry,
    Load,
    Look,
    Purged,
    Receipt,
    Rescued,
    Retention,
    Settled,
    Settlement,
)
from relay.journal.writer.rewind import Witness
from relay.journal.writer.thread import Writer
from relay.journal.writes import claim, destination_state, nodes, operate, settle
from relay.journal.writes.rescue import Lease, rescue_dead
from relay.journal.writes.retention import Early
from relay.journal.writes.tx import BATCH, Tx
from relay.lease_times import TIMES, Times
from relay.model import Delivery, Outcome
from relay.process.clock import Clock

T = TypeVar("T")

APPEND_TIMEOUT = 4.0
"""Seconds that an append may wait; then its sender is told to come again."""

_CLOCKS_DIFFER = 5.0
"""Seconds by which what another node wrote may be ahead of this one's time."""


class Journal(Destinations):
    """The writing side: one thread, group commit; any number of callers on any event loop.

    Methods return after the commit. While the journal takes no writes, `append`, `claim` and the
    like raise `JournalUnavailable`; `settle` and `release` wait until it does.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        node: str,
        lease: Lease,
        serves: bool,
        clock: Clock,
        hooks: Hooks | None,
        died: Callable[[], None] | None,
        append_timeout: float,
        tick: float,
    ) -> None:
        self._engine = engine
        self._node = node
        self._lease = lease
        self._serves = serves
        self._clock = clock
        self._append_timeout = append_timeout
        self._writer = Writer(
            engine,
            lease=lease,
            node=node,
            clock=clock,
            hooks=hooks,
            witness=Witness(engine, hooks=hooks, serves=serves),
            died=died,
            patience=append_timeout,
            tick=tick,
        )

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock,
        node: str | None = None,
        create: bool = True,
        hooks: Hooks | None = None,
        died: Callable[[], None] | None = None,
        append_timeout: float = APPEND_TIMEOUT,
        times: Times = TIMES,
    ) -> Journal:
        """Open the journal and start writing; raises JournalRefused where it must not be used.

        `node`, a fresh UUID's hex, in a process that owns deliveries and shows that it lives; none in
        a command. `create` makes an SQLite journal where there never was one and upgrades an older one; on
        PostgreSQL `relay journal upgrade` alone does that.
        The clock is set to the time that the journal goes by: the database's, or that of the processes which
        serve the file. `died` is called from the thread that writes where that ends
        before `close`; the process must end then, too.
        """
        engine = open_engine(url, create=create)
        lease: Lease | None = None
        try:
            lease = engine.lease(node, times)
            journal = cls(
                engine,
                node=node or uuid.uuid4().hex,
                lease=lease,
                serves=node is not None,
                clock=clock,
                hooks=hooks,
                died=died,
                append_timeout=append_timeout,
                tick=times.tick,
            )
            journal._writer.tally.backlog = engine.write(pending_by_destination)
            engine.write(partial(_begin, engine=engine, lease=lease, clock=clock))
            lease.renewal_committed()
            journal._writer.look_first()
        except BaseException:
            if lease is not None:
                lease.end()
            engine.abandon()
            raise
        journal._writer.start()
        return journal

    @property
    def node(self) -> str:
        """The id under which this process owns deliveries."""
        return self._node

    @property
    def folder(self) -> Path | None:
        """Where room is needed on this machine: an SQLite journal's folder; None on a database server."""
        return self._engine.folder

    @property
    def available(self) -> bool:
        """Whether events are taken now."""
        return self._writer.unavailable_reason is None and self._writer.is_alive

    @property
    def locks(self) -> Sequence[Path]:
        """The files on this machine by which processes that write take turns; none on a database server."""
        return self._engine.locks

    def at_rest(self) -> AbstractContextManager[object]:
        """Hold no lock of the journal in the block: a batch under way is waited for, and none is begun."""
        return self._writer.at_rest

    def may_start(self, now: float) -> bool:
        """Whether this node may begin an attempt: it has shown lately that it lives.

        Else others may take what it holds before the attempt ends. False only on a shared database
        that has not been reached for a while; what waits is tried when it is reached again.
        """
        return self._lease.may_start(now)

    def backlogs(self) -> Mapping[str, int]:
        """Pending deliveries, those in flight included, of every destination that has or had one."""
        return dict(self._writer.tally.backlog)

    def count_rejected(self, source: str) -> None:
        """Count a refused request of a known source; returns at once, written within a second."""
        self._writer.count_rejected(source)

    async def append(self, entry: Entry) -> Receipt:
        """Store an event with its deliveries.

        Raises JournalUnavailable when it cannot be done now or in time, RowRefused when the engine
        refuses this row. Deliveries whose `owner` is set (with `fence=1, attempts=1`) are born owned.
        """
        if self._writer.unavailable_reason is not None:
            raise JournalUnavailable(self._writer.unavailable_reason)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        job = self._writer.submit(entry, future, keep=False)
        timer = loop.call_later(self._append_timeout, self._writer.expire, job)
        try:
            return await future
        except asyncio.CancelledError:
            self._writer.withdraw(job)
            raise
        finally:
            timer.cancel()

    async def settle(self, settlement: Settlement) -> Settled:
        """End an attempt; not done where it is fenced off.

        Raises InternalFault where a bug keeps even its outcome from being written: see `lose`.
        """
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._writer.submit(settlement, future, keep=True)
        return await future

    async def lose(self, held: Delivery) -> list[Rescued]:
        """Take back a delivery whose attempt met a bug of Relay's own; the second time, it is poison."""
        return await self._do(partial(claim.lose, held=held), keep=True)

    async def outcomes(self, delivery_id: str) -> list[Outcome]:
        """How a delivery's attempts ended so far, the first one first."""
        return await self._do(partial(settle.outcomes, delivery_id=delivery_id))

    async def claim(
        self,
        destination: str,
        limit: int,
        *,
        suspect: bool = False,
        room: int | None = None,
        load: Load | None = None,
    ) -> list[Claim]:
        """Take up to `limit` due deliveries; the suspect ones only with `suspect`, and then none else.

        None while the destination is paused, its breaker is open, or a 429 holds it. With `room` no
        more than so many, less what other nodes own of the destination; with `load` only those that it
        lets into memory.
        """
        work = partial(
            destination_state.claim, name=destination, limit=limit, suspect=suspect, room=room, load=load
        )
        return await self._do(work)

    async def living(self) -> Sequence[str]:
        """The nodes that live, this one among them, the oldest first."""
        return sorted(await self._do(self._lease.living))

    async def join(self) -> int:
        """Tell the other nodes of this one, which begins nothing of what they share before all know of it.

        The number of the change that they have taken when they do.
        """
        return await self._do(nodes.join)

    async def look(self, *, owned: bool) -> Look:
        """What processes do and must do, of one moment; with `owned` how many deliveries each has."""
        return await self._do(partial(nodes.look, living=self._lease.living, owned=owned))

    async def note_change(self, change: int) -> None:
        """Write down that this node goes by everything up to this change."""
        await self._do(partial(nodes.note_change, change=change))

    async def release(
        self,
        deliveries: Sequence[Delivery],
        *,
        interrupted: bool,
        due_at: Literal["now"] | None = "now",
    ) -> None:
        """Give deliveries back; with `due_at=None` they wait until `wake` or `retry`.

        `interrupted`: the attempt had begun; it is recorded and does not count. Else it never began.
        """
        held = tuple(deliveries)
        work = partial(claim.release, deliveries=held, interrupted=interrupted, due_at=due_at)
        await self._do(work, keep=True)

    async def wake(self) -> int:
        """Make due now what waits without a due time: what it lacked may be back in the configuration.

        In batches, since a whole backlog may be parked; what lacks it still, and is parked again
        meanwhile, is left for the next time.
        """
        before = self.now() + _CLOCKS_DIFFER
        work = partial(claim.wake, before=before, limit=BATCH)
        total = woken = await self._do(work)
        while woken == BATCH:
            total += (woken := await self._do(work))
        return total

    async def due(self, destinations: Iterable[str]) -> Mapping[str, float | None]:
        """When the next delivery of each destination is due; None where none waits; suspects aside."""
        return await self._do(partial(claim.due, destinations=tuple(destinations)))

    async def suspects(self) -> Sequence[str]:
        """The destinations for which a suspect delivery is due."""
        return await self._do(claim.suspects)

    async def rescue(self, held: Collection[str] = ()) -> list[Rescued]:
        """Take deliveries from nodes that are gone, and what this one owns for over 10 s but does not hold.

        `held`: the ids of the deliveries in this process's memory, those being settled included.
        """
        return await self._do(partial(rescue_dead, lease=self._lease, held=frozenset(held)))

    async def retry(self, ids: Sequence[str]) -> int:
        """Make dead and waiting deliveries due now, counted and aged anew; how many there were.

        In a lane the head alone can be due: those behind it are left as they are, a dead one that
        was skipped goes to the end of its lane.
        """
        return await self._in_batches(operate.retry, ids)

    async def cancel(self, ids: Sequence[str]) -> int:
        """Cancel deliveries that wait and dead ones; how many there were. A lane that one held goes on."""
        return await self._in_batches(operate.cancel, ids)

    async def replay(self, plans: Sequence[Delivery]) -> int:
        """Add new deliveries of stored events, at the end of their lanes.

        How many, less those whose event is gone.
        """
        return await self._in_batches(operate.replay, plans)

    async def _in_batches(self, work: Callable[[Tx, Sequence[T]], int], items: Sequence[T]) -> int:
        def on(part: Sequence[T]) -> Callable[[Tx], int]:
            return lambda tx: work(tx, part)

        done = 0
        for start in range(0, len(items), BATCH):
            done += await self._do(on(items[start : start + BATCH]))
        return done

    async def expire(self, name: str, *, before: float, limit: int = BATCH) -> list[Delivery]:
        """Expire deliveries whose age began before `before`, in the destination's clock, oldest first.

        At most `limit`. In a lane that holds only the head can expire.
        """
        return await self._do(partial(operate.expire, name=name, before=before, limit=limit))

    async def accept_loss(self, loss_id: str) -> Loss | None:
        """Accept what a database that was put back has lost; None where no loss of this id waits for that."""
        return await self._do(lambda tx: losses.accept(tx.connection, loss_id, now=tx.now))

    async def request_reload(self) -> int:
        """Ask every node to take its configuration anew; the number of this request."""
        return await self._do(nodes.request_reload)

    async def reload_number(self) -> int:
        """The number of the last request to take the configuration anew; 0 before the first."""
        return await self._do(nodes.reload_number)

    async def note_config(self, *, digest: str, reload: int, error: str | None) -> None:
        """Write down which configuration this node has in force, and why not the newest, if so."""
        work = partial(nodes.note_config, digest=digest, reload=reload, error=error)
        await self._do(work)
        self._lease.note(work)

    async def purge(self, retention: Retention, now: float | None = None) -> Purged:
        """Remove what was kept long enough, in batches; more where the journal is over `max_size`."""
        return await purge.purge(
            self._do,
            lambda tx: self._engine.size(tx.connection),
            retention=retention,
            now=self._clock.now() if now is None else now,
        )

    async def purge_early(self, early: Early) -> Purged:
        """Remove what an operator names before its time, in batches."""
        return await purge.purge_early(self._do, early)

    def now(self) -> float:
        """The time that the journal goes by, in Unix seconds."""
        return self._clock.now()

    async def _do(self, work: Callable[[Tx], T], *, keep: bool = False) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(work, future, keep=keep)
        return await future

    def close(self) -> None:
        """Write what waits, give back what this node still owns, end."""
        if self._serves:
            self._writer.submit(nodes.unregister, None, keep=True)
        self._writer.stop()
        self._lease.end()


def _begin(connection: sa.Connection, engine: Engine, lease: Lease, clock: Clock) -> None:
    """Go by the journal's time, and make the row of a process that begins to serve.

    Refused where the journal was given up just now. In one transaction: of two processes that begin at once
    the second goes by the first one's time.
    """
    versioning.refuse_moved("the journal", versioning.read_facts(connection))
    at = engine.now(connection)
    if at is not None:
        clock.start_at(at)
    lease.register(connection, clock.now())
