"""The journal as the service and the commands see it: ask, await, and it is on disk."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import sqlalchemy as sa

import relay
from relay.clock import Clock
from relay.errors import JournalUnavailable
from relay.journal import claim, operate
from relay.journal.engine import SqliteEngine
from relay.journal.figures import pending_by_destination
from relay.journal.files import Life
from relay.journal.leases import rescue_dead
from relay.journal.opening import open_engine
from relay.journal.schema import node as node_table
from relay.journal.tx import Tx
from relay.journal.values import Claim, Entry, Hooks, Purged, Receipt, Rescued, Retention, Settlement
from relay.journal.writer import Writer
from relay.model import Delivery

T = TypeVar("T")

APPEND_TIMEOUT = 4.0
"""Seconds that an append may wait; then its sender is told to come again."""


class Journal:
    """The writing side: one thread, group commit; any number of callers on any event loop.

    Methods return after the commit. While the journal takes no writes, `append`, `claim` and the
    like raise `JournalUnavailable`; `settle` and `release` wait until it does.
    """

    def __init__(
        self,
        engine: SqliteEngine,
        *,
        node: str,
        life: Life | None,
        clock: Clock,
        hooks: Hooks | None,
        append_timeout: float,
    ) -> None:
        self._engine = engine
        self._node = node
        self._life = life
        self._clock = clock
        self._append_timeout = append_timeout
        self._writer = Writer(engine, node=node, clock=clock, hooks=hooks)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock,
        node: str | None = None,
        create: bool = True,
        hooks: Hooks | None = None,
        append_timeout: float = APPEND_TIMEOUT,
    ) -> Journal:
        """Open the journal and start writing; raises JournalRefused where it must not be used.

        `node`, a fresh UUID's hex, in a process that owns deliveries and shows that it lives; none in
        a command. `create` makes a journal where there never was one and upgrades an older one.
        """
        engine = open_engine(url, create=create)
        life: Life | None = None
        try:
            life = None if node is None else engine.live(node)
            journal = cls(
                engine,
                node=node or uuid.uuid4().hex,
                life=life,
                clock=clock,
                hooks=hooks,
                append_timeout=append_timeout,
            )
            journal._writer.backlog = engine.write(pending_by_destination)
            if node is not None:
                engine.write(partial(_register, node=node, now=clock.now()))
        except BaseException:
            if life is not None:
                life.end()
            engine.abandon()
            raise
        journal._writer.start()
        return journal

    @property
    def node(self) -> str:
        """The id under which this process owns deliveries."""
        return self._node

    @property
    def folder(self) -> Path:
        """Where the journal is, and room for it is needed."""
        return self._engine.path.parent

    @property
    def available(self) -> bool:
        """Whether events are taken now."""
        return self._writer.trouble is None

    def backlogs(self) -> Mapping[str, int]:
        """Pending deliveries, those in flight included, of every destination that has or had one."""
        return dict(self._writer.backlog)

    def count_rejected(self, source: str) -> None:
        """Count a refused request of a known source; returns at once, written within a second."""
        self._writer.count_rejected(source)

    async def append(self, entry: Entry) -> Receipt:
        """Store an event with its deliveries.

        Raises JournalUnavailable when it cannot be done now or in time, RowRefused when the engine
        refuses this row. Deliveries whose `owner` is set (with `fence=1, attempts=1`) are born owned.
        """
        if self._writer.trouble is not None:
            raise JournalUnavailable(self._writer.trouble)
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

    async def settle(self, settlement: Settlement) -> bool:
        """End an attempt: True when it is settled so, now or already; False when fenced off."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._writer.submit(settlement, future, keep=True)
        return await future

    async def claim(self, destination: str, limit: int, *, suspect: bool = False) -> list[Claim]:
        """Take up to `limit` due deliveries; the suspect ones only with `suspect`, and then none else."""
        return await self._do(partial(claim.claim, destination=destination, limit=limit, suspect=suspect))

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
        """Make due now what waits without a due time: what it lacked may be back in the configuration."""
        return await self._do(claim.wake)

    async def due(self, destinations: Iterable[str]) -> Mapping[str, float | None]:
        """When the next delivery of each destination is due; None where none waits; suspects aside."""
        return await self._do(partial(claim.due, destinations=tuple(destinations)))

    async def rescue(self, held: Collection[str] = ()) -> list[Rescued]:
        """Take deliveries from nodes that are gone, and what this one owns for over 10 s but does not hold.

        `held`: the ids of the deliveries in this process's memory, those being settled included.
        """
        return await self._do(partial(rescue_dead, engine=self._engine, held=frozenset(held)))

    async def retry(self, ids: Sequence[str]) -> int:
        """Make dead and waiting deliveries due now, counted and aged anew; how many there were."""
        done = 0
        for start in range(0, len(ids), operate.BATCH):
            part = tuple(ids[start : start + operate.BATCH])
            done += await self._do(partial(operate.retry, ids=part))
        return done

    async def replay(self, plans: Sequence[Delivery]) -> int:
        """Add new deliveries of stored events; how many, less those whose event is gone."""
        done = 0
        for start in range(0, len(plans), operate.BATCH):
            part = tuple(plans[start : start + operate.BATCH])
            done += await self._do(partial(operate.replay, plans=part))
        return done

    async def purge(self, retention: Retention, now: float | None = None) -> Purged:
        """Remove what was kept long enough, in batches; more where the journal is over `max_size`."""
        now = self._clock.now() if now is None else now
        cutoffs = operate.Cutoffs.of(retention, now)
        steps = (operate.purge_delivered, operate.purge_dead, operate.purge_filtered, operate.purge_keys)
        total = Purged()
        for step in steps:
            total += await self._purge(step, cutoffs, None)
        if retention.max_size is not None:
            for step in (operate.purge_filtered, operate.purge_delivered):
                total += await self._purge(step, cutoffs.early(now), retention.max_size)
        return total

    async def _purge(self, step: _Step, cutoffs: operate.Cutoffs, max_size: int | None) -> Purged:
        total = Purged()
        cursor: operate.Cursor | None = operate.START
        while cursor is not None and (max_size is None or await self._size() > max_size):
            removed, cursor = await self._do(partial(step, cutoffs=cutoffs, cursor=cursor))
            total += removed
        return total

    async def _size(self) -> int:
        return await self._do(lambda tx: self._engine.size(tx.connection))

    async def _do(self, work: Callable[[Tx], T], *, keep: bool = False) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(work, future, keep=keep)
        return await future

    def close(self) -> None:
        """Write what waits, give back what this node still owns, end."""
        if self._life is not None:
            self._writer.submit(partial(_unregister, node=self._node), None, keep=True)
        self._writer.stop()
        if self._life is not None:
            self._life.end()


class _Step(Protocol):
    """One way to purge a batch."""

    def __call__(
        self, tx: Tx, /, cutoffs: operate.Cutoffs, cursor: operate.Cursor
    ) -> tuple[Purged, operate.Cursor | None]: ...


def _register(connection: sa.Connection, *, node: str, now: float) -> None:
    connection.execute(
        sa.insert(node_table).values(
            id=node, started_at=now, version=relay.__version__, host=socket.gethostname(), pid=os.getpid()
        )
    )


def _unregister(tx: Tx, *, node: str) -> None:
    claim.rescue_forgotten(tx, (), after=0.0)
    tx.connection.execute(sa.delete(node_table).where(node_table.c.id == node))
