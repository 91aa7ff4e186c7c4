"""`python -m tests.benchmarks.journal`: what one append, claim and settle cost, on each engine.

The journal alone, without HTTP: so many are stored, claimed and settled, batch after batch. CPU is this
process's (the event loop and the writer's thread) and the server's; unlike a rate it hardly minds what
else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from relay.journal import Entry, Journal, Settlement
from relay.process.clock import Clock
from tests.benchmarks.database import database
from tests.benchmarks.measure import cpu_of
from tests.benchmarks.payload import body
from tests.journal.making import make_delivery, make_event, make_settlement

T = TypeVar("T")

DESTINATION = "receiver"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation, in seconds: what passed, CPU of this process, CPU of the server."""

    passed: float
    own: float
    server: float


class Meter:
    """Collects what each kind of operation cost."""

    def __init__(self, server: int | None) -> None:
        self.costs: dict[str, list[Cost]] = {}
        self._server = server

    async def over(self, name: str, count: int, work: Awaitable[T]) -> T:
        """Do the work of so many operations, and note what one of them cost."""
        began = self._now()
        done = await work
        spent = [(after - before) / count for before, after in zip(began, self._now(), strict=True)]
        self.costs.setdefault(name, []).append(Cost(*spent))
        return done

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), cpu_of([self._server]) if self._server else 0.0


async def _batches(work: Callable[[T], Awaitable[object]], items: Sequence[T], size: int) -> None:
    for start in range(0, len(items), size):
        await asyncio.gather(*(work(item) for item in items[start : start + size]))


def _entry(content: bytes, owner: str | None) -> Entry:
    event = make_event(body=content)
    return Entry(event=event, deliveries=(make_delivery(event, DESTINATION, owner=owner),))


async def _round(journal: Journal, meter: Meter, *, count: int, size: int) -> None:
    """Store what waits, claim it and settle it; then the way of most events, born owned."""
    waiting = [_entry(body(1), None) for _ in range(count)]
    await meter.over("append", count, _batches(journal.append, waiting, size))

    settlements: list[Settlement] = []

    async def claim(limit: int) -> None:
        claimed = await journal.claim(DESTINATION, limit)
        assert len(claimed) == limit, "less was due than was stored"
        settlements.extend(make_settlement(one.delivery) for one in claimed)

    await meter.over("claim", count, _batches(claim, [size] * (count // size), 1))
    await meter.over("settle", count, _batches(journal.settle, settlements, size))

    async def through(entry: Entry) -> None:
        await journal.append(entry)
        await journal.settle(make_settlement(entry.deliveries[0]))

    owned = [_entry(body(1), journal.node) for _ in range(count)]
    await meter.over("append, settle", count, _batches(through, owned, size))


def _measure(url: str, *, server: int | None, rounds: int, count: int, size: int) -> dict[str, list[Cost]]:
    journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
    meter = Meter(server)

    async def all_rounds() -> None:
        await _round(journal, Meter(server), count=size * 4, size=size)  # the statements are made ready
        for _ in range(rounds):
            await _round(journal, meter, count=count, size=size)

    try:
        asyncio.run(all_rounds())
    finally:
        journal.close()
    return meter.costs


def main() -> None:
    """Measure both engines and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.journal", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the table has their medians (5)")
    parser.add_argument("--count", type=int, default=1024, help="operations of a kind in a round (1024)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32], help="operations in a batch (8 32)")
    options = parser.parse_args()
    _say(f"microseconds for one, {options.count} in a round, median of {options.rounds}")
    _say(f"{'':14}{'':18}{'batch':>6}{'passed':>9}{'own CPU':>9}{'server CPU':>12}")
    for size in options.sizes:
        run = partial(_measure, rounds=options.rounds, count=options.count, size=size)
        with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
            _table("SQLite", size, run(f"sqlite:///{Path(folder) / 'relay.db'}", server=None))
        with database() as server, server.fresh() as url:
            _table("PostgreSQL", size, run(url, server=server.pid))
    _say(f"load average {os.getloadavg()[0]:.1f}")


def _table(engine: str, size: int, costs: dict[str, list[Cost]]) -> None:
    for name, all_of_it in costs.items():
        passed, own, server = (
            median(getattr(cost, field) for cost in all_of_it) * 1e6 for field in ("passed", "own", "server")
        )
        _say(f"{engine:14}{name:18}{size:>6}{passed:>9,.0f}{own:>9,.0f}{server:>12,.0f}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
