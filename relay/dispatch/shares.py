"""Which part of every limit this node takes: learnt from the journal, and told to the gates.

A limit that cannot be divided (a concurrency of 1, or one below the number of nodes) is kept by counting
what other nodes own, in the transaction that claims. That sees all but what is born owned without a
claim. So for such a destination deliveries are born owned only by a node that knows itself to be alone,
and a node that comes claims nothing before all that believed so must have heard of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from relay.clock import Clock
from relay.dispatch.gate import Gate
from relay.errors import JournalUnavailable
from relay.journal import Journal
from relay.limits import Share
from relay.telemetry import Telemetry

FRESH = 5.0
"""Seconds for which a node may believe that nobody else came."""

SETTLED = 10.0
"""Seconds after which no node can still believe that this one is not there: `FRESH`, and the longest that
an event which it planned before that may take into the journal."""

POLL = 1.0
"""Seconds between two questions."""


class Shares:
    """This node's share, asked for again and again; nothing is alone before it has asked."""

    def __init__(self, *, journal: Journal, telemetry: Telemetry, clock: Clock) -> None:
        self.share = Share(until=0.0)
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock

    async def read(self, gates: Iterable[Gate]) -> None:
        """Ask who lives, and tell the gates. Raises JournalUnavailable."""
        asked_at = self._clock.now()
        living = await self._journal.living()
        now = self._clock.now()
        # Who was away for long may have been given up by the others, and is new to them.
        is_new = asked_at > self.share.until
        self.share = Share(
            rank=living.index(self._journal.node),
            nodes=len(living),
            since=now + SETTLED if is_new else self.share.since,
            until=asked_at + FRESH,
        )
        for gate in gates:
            gate.take_share(self.share, now)

    async def read_forever(self, gates: Mapping[str, Gate]) -> None:
        """Ask every second, until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            try:
                await self.read(tuple(gates.values()))
            except JournalUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - as long as the node lives it must ask
                self._telemetry.internal_error(where="shares", error=error)
