"""Dispatchers of several nodes on one journal: what keeps deliveries back holds for all of them together."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx

from relay.config import Configuration
from relay.journal import Journal, Reader
from relay.lease_times import TIMES, Times
from relay.model import Delivery
from relay.process.clock import Clock
from tests.unit.test_dispatch_dispatcher import Bench, Handler, event_of, loaded, ok, until

SHORT = replace(TIMES, poll=0.2)
"""Nodes hear of each other five times a second."""


@asynccontextmanager
async def node(
    url: str, configuration: Configuration, handler: Handler, *, times: Times = SHORT
) -> AsyncIterator[Bench]:
    """One node at work, drained at the end."""
    journal = await asyncio.to_thread(Journal.open, url, clock=Clock(), node=uuid.uuid4().hex, times=times)
    bench = Bench(journal, configuration, handler, times=times)
    try:
        await bench.dispatcher.start()
        yield bench
    finally:
        await bench.dispatcher.drain(5.0)
        bench.telemetry.close()
        await asyncio.to_thread(journal.close)


@dataclass
class Downstream:
    """Takes its time over each request, and remembers how many it had at once, and in which order."""

    at_once: int = 0
    most: int = 0
    came: list[str] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)

    async def take(self, request: httpx.Request) -> httpx.Response:
        """Answer 200 after a while."""
        self.came.append(request.headers["relay-delivery-id"])
        self.arrivals.append(time.monotonic())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(random.uniform(0.001, 0.02))
        self.at_once -= 1
        return httpx.Response(200)


async def accept(bench: Bench, number: int) -> Delivery:
    """Take an event as ingest does, and make its first attempt where its delivery is born owned."""
    if not bench.dispatcher.reserve("one", f"dlv_{number:032x}", event_of(number)):
        delivery = await bench.store(number, "one")
        bench.dispatcher.nudge("one")
        return delivery
    delivery = await bench.store(number, "one", owner=bench.journal.node, fence=1, attempts=1)
    await bench.dispatcher.run(event_of(number), (delivery,))
    return delivery


async def share(*nodes: Bench) -> None:
    """Wait until each has its part of the limits, and nothing is due."""
    for bench in nodes:
        await until(partial(bench.dispatcher.reserve, "one", "dlv_none", event_of(0)))
        bench.dispatcher.unreserve("one", "dlv_none")


async def all_done(url: str, *, within: float) -> None:
    """Wait until nothing is pending."""
    with Reader.open(url) as reader:
        async with asyncio.timeout(within):
            while sum(one.pending for one in reader.status().destinations):  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.05)


async def test_a_concurrency_of_one_is_one_while_nodes_come_and_go(engine: str, tmp_path: Path) -> None:
    """Whoever takes the events, and with whom the nodes start and end, there is one request at a time."""
    configuration = loaded(tmp_path, "one", more=", limits: {concurrency: 1}")
    downstream = Downstream()
    numbers = iter(range(10_000))

    async def feed(bench: Bench, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            await accept(bench, next(numbers))
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as others:
        async with node(engine, configuration, downstream.take) as first:
            await feed(first, 0.5)
            second = await others.enter_async_context(node(engine, configuration, downstream.take))
            third = await others.enter_async_context(node(engine, configuration, downstream.take))
            await asyncio.gather(*(feed(bench, 1.5) for bench in (first, second, third)))
        async with asyncio.timeout(60):
            while not second.sent + third.sent:  # they go on where the first one left off
                await feed(second, 0.1)
        async with node(engine, configuration, downstream.take) as fourth:
            await asyncio.gather(*(feed(bench, 1) for bench in (second, third, fourth)))
        await all_done(engine, within=60)
    assert downstream.most == 1
    assert len(downstream.came) == len(set(downstream.came)) == next(numbers)
    assert first.sent


async def test_a_lane_keeps_its_order_over_nodes(engine: str, tmp_path: Path) -> None:
    """Each delivery of a lane goes out after the one before it, whichever node has which."""
    configuration = loaded(tmp_path, "one")
    downstream = Downstream()
    async with (
        node(engine, configuration, downstream.take) as first,
        node(engine, configuration, downstream.take) as second,
    ):
        await share(first, second)
        lanes: dict[str, list[str]] = {"a": [], "b": [], "c": []}
        for number in range(60):
            bench, lane = (first, second)[number % 2], "abc"[number % 3]
            lanes[lane].append((await bench.store(number, "one", lane=lane)).id)
            bench.dispatcher.nudge("one")
        await all_done(engine, within=60)
    for order in lanes.values():
        assert [one for one in downstream.came if one in order] == order
    assert first.sent
    assert second.sent


async def test_an_open_breaker_is_open_for_all_and_probed_by_one(engine: str, tmp_path: Path) -> None:
    """Another node learns of it before it has failed itself, and they send one probe a cooldown together."""
    configuration = loaded(
        tmp_path, "one", more=", breaker: {failures: 3, cooldown: 1s}, retry: {first_wait: 1h, max_wait: 1h}"
    )
    downstream = Downstream()
    is_up = False

    async def answer(request: httpx.Request) -> httpx.Response:
        await downstream.take(request)
        return httpx.Response(200 if is_up else 503)

    async with node(engine, configuration, answer) as first, node(engine, configuration, answer) as second:
        await share(first, second)
        for number in range(3):
            await accept(first, number)
        assert len(first.sent) == 3
        await until(lambda: second.dispatcher.standing("one").opened_at is not None)
        assert not second.sent
        assert not second.dispatcher.reserve("one", "dlv_none", event_of(0))
        for number in range(3, 40):
            await (first, second)[number % 2].store(number, "one")
        for bench in (first, second):
            bench.dispatcher.wake("one")
        await until(lambda: len(downstream.came) >= 6)
        opened_at, *probes = downstream.arrivals[2:]
        for number, arrived_at in enumerate(probes, 1):
            assert arrived_at - opened_at > 0.9 * number, "however late one comes, there is one a cooldown"
        is_up = True
        await all_done(engine, within=60)
        for bench in (first, second):
            await until(lambda: bench.dispatcher.standing("one").opened_at is None)  # noqa: B023 - awaited here


async def test_a_rate_is_one_over_all_nodes(engine: str, tmp_path: Path) -> None:
    """Three nodes with much to do send as many a second as one may, and a first burst each."""
    configuration = loaded(tmp_path, "one", more=", limits: {rate: 30/s}")
    downstream = Downstream()
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(node(engine, configuration, downstream.take)) for _ in range(3)
        ]
        for number in range(120):
            await nodes[number % 3].store(number, "one")
        for bench in nodes:
            bench.dispatcher.wake("one")
        await all_done(engine, within=60)
    # Before the nodes had heard of each other each may have sent at the whole rate; then none did.
    settled = [at for at in downstream.arrivals if at > downstream.arrivals[0] + 1.5]
    assert len(settled) <= 30 * (settled[-1] - settled[0]) + 3
    assert all(bench.sent for bench in nodes)


async def test_what_a_silent_node_has_in_its_hands_is_not_tried(engine: str, tmp_path: Path) -> None:
    """It is given back with its number, and tried when the node has shown that it lives."""
    async with node(engine, loaded(tmp_path, "one"), ok) as bench:
        now = bench.clock.now()
        late = bench.clock
        await until(partial(bench.dispatcher.reserve, "one", "dlv_none", event_of(0)))
        delivery = await bench.store(1, "one", owner=bench.journal.node, fence=1, attempts=1)
        late.start_at(now + 60)
        await bench.dispatcher.run(event_of(1), (delivery,))
        assert not bench.sent
        late.start_at(now)
        bench.dispatcher.wake("one")
        await all_done(engine, within=30)
        with Reader.open(engine) as reader:
            (attempt,) = reader.attempts_of(delivery.id)
        assert attempt.number == 1
