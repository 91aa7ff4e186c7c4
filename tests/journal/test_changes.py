"""What operators and other nodes change holds from the moment that a command has been answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from relay.journal import Reader, StateChange
from relay.model import Delivery
from relay.process.clock import Clock
from tests.journal.making import opened
from tests.journal.test_dispatchers import Downstream, accept, all_done, node
from tests.unit.test_dispatch_dispatcher import Bench, loaded


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so, on however slow a machine."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing rings here
            await asyncio.sleep(0.005)


async def taken(change: StateChange, engine: str) -> None:
    """Wait as a command does: until each node says that it goes by the change."""
    number = change.number or 0
    with Reader.open(engine) as reader:
        await until(lambda: all((one.change or 0) >= number for one in reader.nodes()))


@dataclass
class Slow(Downstream):
    """Takes so long that a node has as much under way as it may."""

    async def take(self, request: httpx.Request) -> httpx.Response:
        """Answer 200 after a while."""
        await asyncio.sleep(0)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.came.append(request.headers["relay-delivery-id"])
        await asyncio.sleep(random.uniform(0.05, 0.15))
        self.at_once -= 1
        return httpx.Response(200)


async def test_a_limit_holds_while_nodes_come_and_go(engine: str, tmp_path: Path) -> None:
    """A node that comes takes its part when the others have no more under way than theirs."""
    configuration = loaded(tmp_path, "one", more=", limits: {concurrency: 5}")
    downstream = Slow()
    numbers = iter(range(100_000))
    stored: list[Delivery] = []
    has_ended = False

    async def feed(bench: Bench) -> None:
        while not has_ended:
            stored.extend(await asyncio.gather(*(bench.store(next(numbers), "one") for _ in range(10))))
            bench.dispatcher.wake("one")
            await until(lambda: len(stored) - len(downstream.came) < 20)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(node(engine, configuration, downstream.take))
        feeding = asyncio.create_task(feed(first))
        await until(lambda: downstream.most == 5)
        for others in (1, 2):
            async with AsyncExitStack() as guests:
                came = [
                    await guests.enter_async_context(node(engine, configuration, downstream.take))
                    for _ in range(others)
                ]
                for one in came:
                    await until(lambda: len(one.sent) > 2)  # noqa: B023 - awaited here
        before = len(first.sent)
        await until(lambda: len(first.sent) > before + 10)
        has_ended = True
        await feeding
        await all_done(engine, within=60)
    assert downstream.most == 5


async def test_nothing_begins_after_a_pause_was_answered(engine: str, tmp_path: Path) -> None:
    """Neither what was claimed before nor what was born owned, on any of the nodes; a resume lets all go."""
    configuration = loaded(tmp_path, "one", more=", limits: {concurrency: 6}")
    downstream = Downstream()
    numbers = iter(range(100_000))
    stored: list[str] = []
    has_ended = False

    async def store(bench: Bench) -> None:
        stored.append((await accept(bench, next(numbers))).id)

    async def feed(bench: Bench) -> None:
        while not has_ended:
            await asyncio.gather(store(bench), asyncio.sleep(0.01))

    async with (
        node(engine, configuration, downstream.take) as first,
        node(engine, configuration, downstream.take) as second,
    ):
        with opened(engine, clock=Clock(), serving=False) as command:
            feeding = [asyncio.create_task(feed(bench)) for bench in (first, second) for _ in range(3)]
            for _ in range(2):
                before = len(downstream.came)
                await until(lambda: len(downstream.came) > before + 10)  # noqa: B023 - awaited here
                await taken(await command.pause("one", reason="operator"), engine)
                begun, came = len(downstream.came), len(stored)
                await until(lambda: len(stored) > came + 30)  # noqa: B023 - awaited here
                assert len(downstream.came) == begun
                await taken(await command.resume("one"), engine)
            has_ended = True
            await asyncio.gather(*feeding)
        await all_done(engine, within=60)
    assert sorted(downstream.came) == sorted(stored), "what was given back is sent once"
