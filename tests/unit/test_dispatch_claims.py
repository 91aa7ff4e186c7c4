"""A claim and a change of its limits: whenever the change comes, no more is in flight than they allow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dispatch.gate import Gate
from relay.journal import Journal
from relay.limits import Share
from relay.model import Delivery, Standing
from relay.process.clock import Clock
from tests.support.journals import prepare
from tests.unit.test_dispatch_dispatcher import Bench, loaded, running, until
from tests.unit.test_dispatch_gate import NOW, destination

OTHERS = [f"other{number}" for number in range(40)]
"""More destinations than may have a claim under way at once."""


class Hooks:
    """Stops the journal's writer after a commit, when it is asked to, until it may go on."""

    def __init__(self) -> None:
        self.stop = False
        self.stopped = threading.Event()
        self.go_on = threading.Event()

    def unavailable(self, error: str) -> None:
        """Nothing to do."""

    def recovered(self) -> None:
        """Nothing to do."""

    def kept_back(self, error: str, number: int) -> None:
        """Nothing to count."""

    def caught_up(self) -> None:
        """Nothing to count."""

    def committed(self, size: int, seconds: float) -> None:
        """Stand still."""
        if self.stop:
            self.stop = False
            self.stopped.set()
            self.go_on.wait(30)

    def rewound(self, *, loss: str | None, events: int | None, since: float | None) -> None:
        """Nothing to do."""

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None) -> None:
        """Nothing to do."""


@pytest.fixture
def hooks() -> Hooks:
    """What stops the writer."""
    return Hooks()


@pytest.fixture
async def journal(tmp_path: Path, hooks: Hooks) -> AsyncIterator[Journal]:
    """An empty journal whose writer can be stopped."""
    opened = Journal.open(prepare(tmp_path / "relay.db"), clock=Clock(), node="a" * 32, hooks=hooks)
    yield opened
    hooks.go_on.set()
    opened.close()


class InFlight:
    """A destination that answers when it is told to, and the others, that answer at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.answer = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Count one request to `out` for as long as it takes."""
        if request.url.path == "/out":
            self.now += 1
            self.most = max(self.most, self.now)
            await self.answer.wait()
            await asyncio.sleep(0)
            self.now -= 1
        return httpx.Response(200)


async def waiting_for_its_turn(bench: Bench, hooks: Hooks, out: InFlight) -> list[asyncio.Task[Delivery]]:
    """Six of `out`'s eight slots are taken, and its claim for the rest waits behind those of the others."""
    for number in range(6):
        await bench.store(number, "out")
    bench.dispatcher.wake("out")
    await until(lambda: out.now == 6)
    hooks.stop = True
    stored = [asyncio.create_task(bench.store(6, "out"))]
    await until(hooks.stopped.is_set)
    stored += [asyncio.create_task(bench.store(7 + number, "out")) for number in range(19)]
    stored += [asyncio.create_task(bench.store(100 + number, name)) for number, name in enumerate(OTHERS)]
    await asyncio.sleep(0)
    for name in [*OTHERS, "out"]:
        bench.dispatcher.wake(name)
        for _ in range(5):
            await asyncio.sleep(0)
    return stored


async def test_a_claim_that_waited_for_its_turn_goes_by_the_limit_of_today(
    journal: Journal, hooks: Hooks, tmp_path: Path
) -> None:
    """A reload that lowers the limit below what is in flight lets a claim that waits take nothing."""
    out = InFlight()
    eight = loaded(tmp_path, "out", *OTHERS, more=", limits: {concurrency: 8}")
    async with running(journal, eight, out) as bench:
        stored = await waiting_for_its_turn(bench, hooks, out)
        bench.apply(loaded(tmp_path, "out", *OTHERS, more=", limits: {concurrency: 2}"))
        hooks.go_on.set()
        await asyncio.gather(*stored)
        await until(lambda: set(OTHERS) <= set(bench.sent))
        out.answer.set()
        await bench.pending()
        assert out.most == 6


async def test_a_claim_that_waited_for_its_turn_is_none_where_the_destination_has_left(
    journal: Journal, hooks: Hooks, tmp_path: Path
) -> None:
    """Nothing more goes to a destination that left the file while a claim for it waited."""
    out = InFlight()
    configuration = loaded(tmp_path, "out", *OTHERS, more=", limits: {concurrency: 8}")
    async with running(journal, configuration, out) as bench:
        stored = await waiting_for_its_turn(bench, hooks, out)
        bench.apply(loaded(tmp_path, *OTHERS))
        hooks.go_on.set()
        await asyncio.gather(*stored)
        await until(lambda: set(OTHERS) <= set(bench.sent))
        out.answer.set()
        await until(lambda: not bench.dispatcher.held)
        assert bench.sent.count("out") == 6


STEPS = st.one_of(
    st.tuples(st.just("limit"), st.integers(1, 8)),
    st.tuples(st.just("nodes"), st.integers(1, 3)),
    st.tuples(st.just("waiting"), st.integers(1, 20)),
    st.tuples(
        st.sampled_from(["admit", "first", "leave", "release", "begin", "end", "look"]), st.integers(0, 8)
    ),
)


class Steps:
    """A gate, the claim that is under way, and what may happen next."""

    def __init__(self) -> None:
        self.gate = Gate(destination(concurrency=4), Standing(name="out"), Share())
        self.asked: int | None = None

    def take(self, step: str, number: int) -> None:
        """Take one step, where it can be taken now."""
        if step in {"begin", "end"}:
            self._claim(step, number)
        elif step in {"leave", "release"}:
            if self.gate.slots.in_flight > (self.asked or 0):
                self.gate.leave() if step == "leave" else self.gate.release()
        else:
            self._change(step, number)

    def _claim(self, step: str, number: int) -> None:
        if step == "begin" and self.asked is None:
            self.asked = self.gate.begin_claim(NOW)
            assert self.asked >= 0
        elif step == "end" and self.asked is not None:
            self.gate.end_claim(asked=self.asked, got=min(self.asked, number))
            self.asked = None

    def _change(self, step: str, number: int) -> None:
        match step:
            case "limit":
                self.gate.adopt(destination(concurrency=number), NOW)
            case "nodes":
                self.gate.take_share(Share(rank=0, nodes=number), NOW, is_settled=number != 2)
            case "waiting":
                for _ in range(number):
                    self.gate.note_waiting()
            case "admit":
                self.gate.admit(NOW)
            case "first":
                self.gate.admit_before_others(NOW)
            case _:
                self.gate.look()


@given(st.lists(STEPS, max_size=60))
def test_no_step_takes_a_slot_that_is_not_there(steps: list[tuple[str, int]]) -> None:
    """Whatever the limit becomes between two steps of a claim, none takes more than are free just then."""
    some = Steps()
    for step, number in steps:
        before = some.gate.slots.in_flight
        some.take(step, number)
        assert some.gate.slots.waiting >= 0
        assert 0 <= some.gate.slots.in_flight <= max(before, some.gate.slots.concurrency)
