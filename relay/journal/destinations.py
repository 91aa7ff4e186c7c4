"""The part of the journal about whole destinations: pauses, breakers, holds, changes of their order."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from relay.errors import JournalUnavailable
from relay.journal.reads.destination_state import read_standings, standing_of
from relay.journal.values import Load, Probe, StateChange
from relay.journal.writes import destination_state, order_changes
from relay.journal.writes.order_changes import OrderChange, OrderChanges, Orders
from relay.journal.writes.tx import BATCH, Tx
from relay.model import Standing

T = TypeVar("T")


class Destinations(ABC):
    """What keeps destinations back, as every node and command sees it; see `Journal`."""

    @abstractmethod
    async def _do(self, work: Callable[[Tx], T], *, keep: bool = False) -> T:
        """Have the work done in the writer's turn; its result after the commit."""

    @abstractmethod
    def now(self) -> float:
        """The journal's time, in Unix seconds."""

    async def standings(self) -> Mapping[str, Standing]:
        """What keeps destinations back, by name; the others have no row yet."""
        return await self._do(lambda tx: read_standings(tx.connection))

    async def pause(self, name: str, *, reason: str, asked_at: float | None = None) -> StateChange:
        """Stop all attempts at a destination until it is resumed; unchanged where it is paused already.

        `asked_at`: when an attempt asked for that. Then it is done as soon as the journal takes it, unless
        an operator has let the destination go on meanwhile.
        """
        work = partial(destination_state.pause, name=name, reason=reason, asked_at=asked_at)
        return await self._do(work, keep=asked_at is not None)

    async def resume(self, name: str) -> StateChange:
        """Make due now what waits for its next attempt, then end the pause, or the hold of a 429.

        With how many deliveries can go out now; unchanged where nothing kept it back. The pause ends with
        the last transaction: after a crash in between it is still paused.
        """
        at = await self._do(lambda tx: standing_of(tx.connection, name))
        if destination_state.is_stopped(at, self.now()):
            await self._make_due(name)
        return await self._do(partial(destination_state.resume, name=name))

    async def open_breaker(self, name: str, *, probe_at: float) -> StateChange:
        """Stop all attempts but probes, the first of them at `probe_at`; unchanged where it is open already.

        Done as soon as the journal takes it.
        """
        return await self._do(
            partial(destination_state.open_breaker, name=name, probe_at=probe_at), keep=True
        )

    async def close_breaker(self, name: str, *, opened_at: float | None = None) -> StateChange:
        """Let attempts go on, and make due now what waits for its next; unchanged where it is closed already.

        With `opened_at` only that opening ends, as soon as the journal takes it.
        """
        work = partial(destination_state.close_breaker, name=name, opened_at=opened_at)
        closed = await self._do(work, keep=opened_at is not None)
        if closed.changed:
            with contextlib.suppress(JournalUnavailable):  # what is not made due goes at its own time
                await self._make_due(name)
        return closed

    async def probe(
        self,
        name: str,
        *,
        next_probe_at: float,
        unused: float | None = None,
        suspect: bool = False,
        room: int | None = None,
        load: Load | None = None,
    ) -> Probe:
        """Where a probe of the open breaker is due, take one due delivery and set the time of the next.

        One node alone is elected. Without a due delivery the next may be at once; one that is suspect is
        taken only with `suspect`, and only where there is no other. `room` and `load` as for a claim.

        `unused`: the time of the next probe that this node set by an earlier one, with which nothing was
        sent: until then no other node is elected, and this one may take the next delivery.
        """
        work = partial(
            destination_state.probe,
            name=name,
            next_probe_at=next_probe_at,
            unused=unused,
            suspect=suspect,
            room=room,
            load=load,
        )
        return await self._do(work)

    async def hold(self, name: str, *, until: float, asked_at: float | None = None) -> StateChange:
        """Claim nothing for a destination until then; a longer hold stays. `asked_at` as for a pause."""
        work = partial(destination_state.hold, name=name, until=until, asked_at=asked_at)
        return await self._do(work, keep=asked_at is not None)

    async def orders(self) -> Orders | None:
        """The orders that nodes go by; None where none has written them yet."""
        return await self._do(lambda tx: order_changes.read_orders(tx.connection))

    async def change_orders(self, orders: Orders, changes: Sequence[OrderChange]) -> OrderChanges:
        """Write down the orders of a file, and the changes that led to them, the oldest first.

        New deliveries of changed routes wait for what is pending now.
        """
        return await self._do(partial(order_changes.change, orders=orders, changes=changes))

    async def follow_orders(self) -> OrderChanges:
        """End the changes that are over, and make due what waited for them."""
        released: frozenset[str] = frozenset()
        while True:
            found = await self._do(order_changes.follow)
            released |= found.released
            if not found.is_full:
                return replace(found, released=released)

    async def _make_due(self, name: str) -> None:
        since = self.now()
        while await self._do(partial(destination_state.make_due, name=name, since=since)) >= BATCH:
            pass
