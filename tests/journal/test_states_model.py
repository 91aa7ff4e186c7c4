"""Pauses, resumes, 429s, openings and closings in any order, against a model: memory and journal agree."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from relay.journal import Journal
from relay.process.clock import Clock
from tests.journal.making import opened
from tests.journal.test_changes import taken, until
from tests.journal.test_dispatchers import all_done, node
from tests.unit.test_dispatch_dispatcher import Bench, loaded

CONFIG = ", limits: {concurrency: 4}, breaker: {failures: 1, cooldown: 50ms}, retry: {first_wait: 10ms}"
THOUSAND = 1000


@dataclass
class World:
    """Some nodes, a command beside them, requests that wait for their answers, and what must be in the row.

    stopped    a pause has been answered: nothing may begin
    late       what began all the same
    thousands  for how many thousand seconds a 429 holds it
    """

    engine: str
    command: Journal
    rng: random.Random
    nodes: list[Bench] = field(default_factory=list)
    waiting: dict[str, asyncio.Future[httpx.Response]] = field(default_factory=dict)
    numbers: int = 0
    is_up: bool = False
    stopped: bool = False
    paused: bool = False
    opened: bool = False
    thousands: int = 0
    late: int = 0
    seen: list[str] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Have a request wait for its answer."""
        self.late += self.stopped
        if self.is_up:
            return httpx.Response(200)
        future: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self.waiting[request.headers["relay-delivery-id"]] = future
        return await future

    async def store(self, number: int) -> None:
        """Have so many more deliveries wait."""
        for _ in range(number):
            await self.rng.choice(self.nodes).store(self.numbers, "one")
            self.numbers += 1
        for bench in self.nodes:
            bench.dispatcher.wake("one")

    async def step(self) -> None:
        """Let one thing happen, in no order, and look at the row."""
        what = self.rng.choice(
            ["200", "429", "503", "429", "503", "200", "pause", "resume", "resume", "wait"]
        )
        self.seen.append(what)
        match what:
            case "pause":
                change = await self.command.pause("one", reason="operator")
                self.paused = True
                if self.rng.random() < 0.5:
                    await taken(change, self.engine)
                    self.stopped = True
            case "resume":
                self.stopped = False
                await self.command.resume("one")
                self.paused, self.thousands = False, 0
            case "wait":
                await asyncio.sleep(self.rng.uniform(0, 0.1))
            case status:
                await self._end_one(int(status))
        row = (await self.command.standings()).get("one")
        now = self.nodes[0].clock.now()
        if row is not None:
            held = 0 if row.held_until is None else round((row.held_until - now) / THOUSAND)
            found = (row.paused_at is not None, row.opened_at is not None, held)
            assert found == (self.paused, self.opened, self.thousands), self.seen

    async def _end_one(self, status: int) -> None:
        """Answer one of the requests under way, and wait until its end is in the journal."""
        if not self.waiting:
            return
        delivery_id = self.rng.choice(sorted(self.waiting))
        future = self.waiting.pop(delivery_id)
        (bench,) = [one for one in self.nodes if delivery_id in one.dispatcher.held]
        gate = bench.dispatcher._gates["one"]
        is_probe, knows_it_open = gate.is_probe(delivery_id), gate.standing.opened_at is not None
        thousands = self.rng.choice([1, 2, 3])
        headers = {"retry-after": str(thousands * THOUSAND)} if status == 429 else {}
        future.set_result(httpx.Response(status, headers=headers))
        await until(lambda: delivery_id not in bench.dispatcher.held or delivery_id in self.waiting)
        if headers:
            self.thousands = max(self.thousands, thousands)
        if status == 200:
            self.opened = self.opened and not is_probe
        elif not knows_it_open:
            self.opened = True

    async def agree(self) -> float:
        """Wait until every node goes by what is in the journal; for how many seconds."""
        began = time.monotonic()
        async with asyncio.timeout(60):
            while True:  # a probe may be elected meanwhile, which changes the row
                row = (await self.command.standings()).get("one")
                if row is None or all(one.dispatcher.standing("one") == row for one in self.nodes):
                    return time.monotonic() - began
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Let all go, which it does."""
        self.is_up, self.stopped = True, False
        await self.command.resume("one")
        for future in self.waiting.values():
            future.set_result(httpx.Response(200))
        await all_done(self.engine, within=60)
        assert not self.late, f"begun after a pause was answered: {self.seen}"


async def play(engine: str, folder: Path, *, nodes: int, seed: int, steps: int) -> float:
    """Let so many things happen on so many nodes; how long memory and journal differed at the end."""
    configuration = loaded(folder, "one", more=CONFIG)
    async with AsyncExitStack() as stack:
        command = stack.enter_context(opened(engine, clock=Clock(), serving=False, create=True))
        world = World(engine, command, random.Random(seed))
        for _ in range(nodes):
            world.nodes.append(await stack.enter_async_context(node(engine, configuration, world.answer)))
        await world.store(20)
        await until(lambda: bool(world.waiting))
        for _ in range(steps):
            await world.step()
        differed = await world.agree()
        await world.end()
    return differed


@pytest.mark.parametrize("nodes", [1, 2])
async def test_states_change_in_every_order(engine: str, tmp_path: Path, nodes: int) -> None:
    """The row is what the model says after each step, memory is what the row says, and all goes out."""
    await play(engine, tmp_path, nodes=nodes, seed=random.randrange(1_000_000), steps=25)
