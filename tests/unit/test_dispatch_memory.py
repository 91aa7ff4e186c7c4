"""The dispatcher where bodies are large: it claims what has room in memory, and nothing starves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from relay.dispatch import Bodies
from relay.journal import Journal
from relay.process.body_memory import MEDIUM, BodyMemory
from relay.process.clock import Clock
from tests.support.journals import prepare
from tests.unit.test_dispatch_dispatcher import event_of, loaded, ok, running, until

LARGE = MEDIUM + 1


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An empty journal that this test's process owns."""
    opened = Journal.open(prepare(tmp_path / "relay.db"), clock=Clock(), node="a" * 32)
    yield opened
    opened.close()


async def test_what_hangs_takes_its_room_and_holds_up_nothing_small(journal: Journal, tmp_path: Path) -> None:
    """Claims stop where the room ends, small events go out beside them, and all of it goes out in the end."""
    go_on = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/quick":
            await go_on.wait()
        return httpx.Response(200)

    bodies = Bodies(BodyMemory(large_in_flight=2 * LARGE, shared=0))
    async with running(journal, loaded(tmp_path, "one", "two", "quick"), hang, bodies) as bench:
        for number in range(4):
            await bench.store(number, ("one", "two")[number % 2], body=bytes(LARGE))
        bench.dispatcher.wake("one")
        bench.dispatcher.wake("two")
        await until(lambda: len(bench.sent) == 2)
        for number in range(10, 15):
            await bench.store(number, "quick")
            bench.dispatcher.nudge("quick")
        await bench.pending("one", "two")
        assert bench.sent.count("quick") == 5
        await until(lambda: (bodies.used, len(bench.dispatcher.held)) == (2 * LARGE, 2))
        go_on.set()
        await bench.pending()
        await until(lambda: not bodies.used)


async def test_the_largest_goes_alone_and_is_not_overtaken(journal: Journal, tmp_path: Path) -> None:
    """An event that is larger than all the room has its turn, though others are due that would fit."""
    go_on = asyncio.Event()
    bodies = Bodies(BodyMemory(large_in_flight=3 * LARGE, shared=0), clock=lambda: 0.0)
    used: list[tuple[str, int]] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        used.append((request.url.path, bodies.used))
        await go_on.wait()
        return httpx.Response(200)

    async with running(journal, loaded(tmp_path, "one", "two"), answer, bodies) as bench:
        for number in range(6):
            await bench.store(number, "one", body=bytes(LARGE))
        bench.dispatcher.wake("one")
        await until(lambda: len(bench.sent) == 3)
        await bench.store(9, "two", body=bytes(9 * LARGE))
        bench.dispatcher.wake("two")
        large = bodies._rooms[2]
        await until(lambda: {*large.waiting} == {"one", "two"})
        go_on.set()
        await bench.pending()
        await until(lambda: not bodies.used)
    assert ("/two", 9 * LARGE) in used
    assert max(bytes_used for path, bytes_used in used if path == "/one") == 3 * LARGE


async def test_a_newcomer_without_room_is_left_to_a_claim(journal: Journal, tmp_path: Path) -> None:
    """It takes no slot and no room; what is reserved is given back when the event was not stored."""
    bodies = Bodies(BodyMemory(large_in_flight=LARGE, shared=0))
    async with running(journal, loaded(tmp_path, "one"), ok, bodies) as bench:
        events = [replace(event_of(number), body=bytes(LARGE)) for number in range(2)]
        await until(lambda: bench.dispatcher.reserve("one", "dlv_0", events[0]))
        assert not bench.dispatcher.reserve("one", "dlv_1", events[1])
        assert bench.dispatcher.reserve("one", "dlv_2", event_of(2))
        bench.dispatcher.unreserve("one", "dlv_0")
        assert bench.dispatcher.reserve("one", "dlv_1", events[1])
        for delivery_id in ("dlv_1", "dlv_2"):
            bench.dispatcher.unreserve("one", delivery_id)
        assert bodies.used == 0
        gate = bench.dispatcher._gates["one"]
        assert gate.slots.in_flight == 0


async def test_the_deliveries_of_one_event_share_its_body(journal: Journal, tmp_path: Path) -> None:
    """Born owned by several destinations it is counted once, until the last of them ends."""
    go_on = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/two":
            await go_on.wait()
        return httpx.Response(200)

    bodies = Bodies(BodyMemory())
    async with running(journal, loaded(tmp_path, "one", "two"), hang, bodies) as bench:
        event = replace(event_of(1), body=bytes(LARGE))
        await until(lambda: bench.dispatcher.reserve("one", f"dlv_{1:032x}", event))
        await until(lambda: bench.dispatcher.reserve("two", f"dlv_{2:032x}", event))
        first = await bench.store(1, "one", body=event.body, owner=journal.node, fence=1, attempts=1)
        second = await bench.store(2, "two", owner=journal.node, fence=1, attempts=1)
        running_task = asyncio.create_task(
            bench.dispatcher.run(event, (first, replace(second, event_id=event.id)))
        )
        await until(lambda: bench.dispatcher.held == {second.id})
        assert bodies.used == LARGE
        go_on.set()
        await running_task
        assert bodies.used == 0
