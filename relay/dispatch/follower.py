"""What other processes and operators change: looked up every second, applied to the gates, acknowledged."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from relay.dispatch.destination_states import Standings
from relay.dispatch.gate import Gate
from relay.dispatch.shares import Shares
from relay.errors import JournalUnavailable
from relay.journal import Journal
from relay.lease_times import Times
from relay.process.clock import Clock
from relay.telemetry import Telemetry


class Follower:
    """Keeps gates and journal in step; what it has not looked at for long, this process does not go by."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        *,
        standings: Standings,
        shares: Shares,
        journal: Journal,
        telemetry: Telemetry,
        clock: Clock,
        times: Times,
    ) -> None:
        self._times = times
        self._gates = gates
        self._standings = standings
        self._shares = shares
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._looked_at = -math.inf

    def may_begin(self, now: float) -> bool:
        """Whether the last look is new enough to begin an attempt by.

        So a process that was frozen, or cut off from the journal, begins nothing against what was said
        meanwhile; whoever waits for it knows from when on.
        """
        return now - self._looked_at < self._times.look_stale

    async def look(self, *, tell: bool) -> None:
        """Look once; with `tell`, say what others changed. Raises JournalUnavailable.

        The change is acknowledged when all gates go by it, and no earlier.
        """
        began = self._clock.now()
        if not self.may_begin(began):
            self._shares.come(self._gates.values())
            await self._journal.join()
        known = {name: gate.standing.version for name, gate in self._gates.items()}
        look = await self._journal.look(owned=not self._shares.is_settled)
        gates = tuple(self._gates.values())
        self._standings.take(look.standings, gates, known=known, tell=tell)
        mine = next((peer for peer in look.peers if peer.node == self._journal.node), None)
        if mine is None:  # the others took this node for gone, and share without it
            self._looked_at = -math.inf
            return
        self._shares.take(look, gates, self._clock.now())
        self._looked_at = began
        if mine.change != look.change:
            await self._journal.note_change(look.change)

    async def follow_forever(self) -> None:
        """Look every `poll` seconds, until cancelled: also in the drain, since there still are attempts.

        The time of a look counts, so that on a slow journal a change is not taken later than it must be.
        """
        pause = self._times.poll
        while True:
            await asyncio.sleep(pause)
            began = self._clock.now()
            try:
                await self.look(tell=True)
            except JournalUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - as long as the process lives it must look
                self._telemetry.internal_error(where="follow", error=error)
            finally:
                pause = max(self._times.poll / 10, self._times.poll - (self._clock.now() - began))
