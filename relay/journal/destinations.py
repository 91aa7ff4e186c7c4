"""The part of the journal about whole destinations: pauses, breakers, holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from relay.journal import holding
from relay.journal.standings import read_standings, standing_of
from relay.journal.tx import Tx
from relay.journal.values import Claim
from relay.model import Standing

T = TypeVar("T")


class Destinations(ABC):
    """What keeps destinations back, as every node and command sees it; see `Journal`."""

    @abstractmethod
    async def _do(self, work: Callable[[Tx], T], *, keep: bool = False) -> T:
        """Have the work done in the writer's turn; its result after the commit."""

    @abstractmethod
    def _now(self) -> float:
        """The journal's time, in Unix seconds."""

    async def standings(self) -> Mapping[str, Standing]:
        """What keeps destinations back, by name; the others have no row yet."""
        return await self._do(lambda tx: read_standings(tx.connection))

    async def pause(self, name: str, *, reason: str) -> bool:
        """Stop all attempts at a destination until it is resumed; False when it was paused already."""
        return await self._do(partial(holding.pause, name=name, reason=reason))

    async def resume(self, name: str) -> int | None:
        """Make due now what waits for its next attempt, then end the pause, or the hold of a 429.

        How many deliveries can go out now; None when nothing kept it back. The pause ends with the last
        transaction: after a crash in between it is still paused.
        """
        if not await self._do(lambda tx: holding.is_stopped(standing_of(tx.connection, name), tx.now)):
            return None
        await self._make_due(name)
        return await self._do(partial(holding.resume, name=name))

    async def open_breaker(self, name: str, *, probe_at: float) -> bool:
        """Stop all attempts but probes, the first of them at `probe_at`; False when it was open already."""
        return await self._do(partial(holding.open_breaker, name=name, probe_at=probe_at))

    async def close_breaker(self, name: str) -> bool:
        """Let attempts go on, and make due now what waits for its next; False when it was closed already."""
        closed = await self._do(partial(holding.close_breaker, name=name))
        if closed:
            await self._make_due(name)
        return closed

    async def probe(
        self, name: str, *, next_probe_at: float, suspect: bool = False, room: int | None = None
    ) -> list[Claim]:
        """Where a probe of the open breaker is due, take one due delivery and set the time of the next.

        One node alone is elected. Without a due delivery nothing changes; one that is suspect is
        taken only with `suspect`, and only where there is no other. `room` as for a claim.
        """
        return await self._do(
            partial(holding.probe, name=name, next_probe_at=next_probe_at, suspect=suspect, room=room)
        )

    async def hold(self, name: str, *, until: float) -> None:
        """Claim nothing for a destination until then; a longer hold stays."""
        await self._do(partial(holding.hold, name=name, until=until))

    async def _make_due(self, name: str) -> None:
        since = self._now()
        while await self._do(partial(holding.make_due, name=name, since=since)) >= holding.BATCH:
            pass
