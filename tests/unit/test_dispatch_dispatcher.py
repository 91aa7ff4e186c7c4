"""The dispatcher over a real journal: reloads under way, breakers that the file lost, and no busy loops."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay import config
from relay.config import Configuration
from relay.dispatch import AttemptRunner, Bodies, Dispatcher
from relay.dispatch.gate import Gate
from relay.egress import Egress
from relay.errors import JournalUnavailable
from relay.journal import Entry, Journal
from relay.lease_times import TIMES, Times
from relay.limits import Share
from relay.model import Decision, Delivery, Event, Outcome, Standing
from relay.process.body_memory import BodyMemory
from relay.process.clock import Clock
from relay.telemetry import Telemetry
from tests.support.journals import prepare

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


def loaded(folder: Path, *names: str, more: str = "") -> Configuration:
    """A configuration with one source and destinations of these names, `more` in each of them."""
    lines = [f'  {name}: {{url: "http://127.0.0.1/{name}"{more}}}' for name in names]
    routes = f"routes: [{{source: in, to: [{', '.join(names)}]}}]"
    path = folder / "relay.yaml"
    path.write_text("\n".join(["sources: {in: {verify: none}}", "destinations:", *lines, routes]))
    return config.load(path, {})


def event_of(number: int) -> Event:
    """An event of the source `in`."""
    return Event(
        id=f"evt_{number:032x}",
        source="in",
        type=None,
        provider_id=None,
        received_at=0.0,
        method="POST",
        path="/in",
        query=b"",
        headers=(),
        body=b"{}",
        remote=None,
    )


class Commits:
    """Counts what the journal writes."""

    def __init__(self) -> None:
        self.jobs = 0

    def unavailable(self, error: str) -> None:
        """Nothing to count."""

    def recovered(self) -> None:
        """Nothing to count."""

    def kept_back(self, error: str, number: int) -> None:
        """Nothing to count."""

    def caught_up(self) -> None:
        """Nothing to count."""

    def committed(self, size: int, seconds: float) -> None:
        """One more batch."""
        self.jobs += size

    def rewound(self, *, loss: str | None, events: int | None, since: float | None) -> None:
        """Nothing to count."""

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None) -> None:
        """Nothing to count."""


class Bench:
    """A dispatcher, its journal, and what was sent."""

    def __init__(
        self,
        journal: Journal,
        configuration: Configuration,
        handler: Handler,
        bodies: Bodies | None = None,
        times: Times = TIMES,
    ) -> None:
        self.clock = Clock()
        self.journal = journal
        self.sent: list[str] = []
        self._handler = handler
        self.telemetry = Telemetry.configure(stream=io.StringIO())
        self.attempt_runner = AttemptRunner(
            configuration=configuration,
            journal=journal,
            egress=Egress(configuration.egress, httpx.MockTransport(self._answer)),
            telemetry=self.telemetry,
            clock=self.clock,
            rng=random.Random(1),
        )
        self.bodies = bodies or Bodies(BodyMemory())
        self.dispatcher = Dispatcher(
            configuration.destinations.values(),
            attempt_runner=self.attempt_runner,
            journal=journal,
            telemetry=self.telemetry,
            clock=self.clock,
            bodies=self.bodies,
            times=times,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.url.path.strip("/"))
        return await self._handler(request)

    def apply(self, configuration: Configuration) -> None:
        """Let another configuration take over."""
        self.attempt_runner.replace(configuration)
        self.dispatcher.replace(configuration)

    async def store(self, number: int, destination: str, *, body: bytes = b"{}", **fields: Any) -> Delivery:
        """Put an event with one delivery into the journal, due now and owned by nobody."""
        now = self.clock.now()
        event = replace(event_of(number), body=body)
        delivery = Delivery(
            id=f"dlv_{number:032x}",
            event_id=event.id,
            source="in",
            route="in-to-all",
            destination=destination,
            key=f"dlv_{number:032x}",
            created_at=now,
            age_from=now,
            due_at=now,
        )
        delivery = replace(delivery, **fields)
        await self.journal.append(Entry(event=event, deliveries=(delivery,)))
        return delivery

    async def pending(self, *names: str) -> None:
        """Wait until these are the destinations that still have something pending."""
        await until(lambda: {name for name, count in self.journal.backlogs().items() if count} == {*names})


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing rings here
            await asyncio.sleep(0.01)


async def ok(_: httpx.Request) -> httpx.Response:
    """Take whatever comes."""
    return httpx.Response(200)


@pytest.fixture
def commits() -> Commits:
    """What the journal has written."""
    return Commits()


@pytest.fixture
async def journal(tmp_path: Path, commits: Commits) -> AsyncIterator[Journal]:
    """An empty journal that this test's process owns."""
    opened = Journal.open(prepare(tmp_path / "relay.db"), clock=Clock(), node="a" * 32, hooks=commits)
    yield opened
    opened.close()


@asynccontextmanager
async def running(
    journal: Journal, configuration: Configuration, handler: Handler, bodies: Bodies | None = None
) -> AsyncIterator[Bench]:
    """A dispatcher at work, drained at the end."""
    bench = Bench(journal, configuration, handler, bodies)
    try:
        await bench.dispatcher.start()
        yield bench
    finally:
        await bench.dispatcher.drain(0.0)
        bench.telemetry.close()


async def test_a_destination_that_a_reload_brings_is_claimed_for_at_once(
    journal: Journal, tmp_path: Path
) -> None:
    """What waits for a destination that is not in the file goes out when it is back."""
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:
        await bench.store(1, "two")
        bench.dispatcher.nudge("two")
        bench.apply(loaded(tmp_path, "one", "two"))
        assert bench.dispatcher.standing("two") == Standing(name="two")
        await bench.pending()
        assert bench.sent == ["two"]


async def test_what_is_in_flight_ends_by_the_destination_that_it_began_with(
    journal: Journal, tmp_path: Path
) -> None:
    """A destination that leaves the file during an attempt gets that attempt settled, and no other one."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        begun.set()
        await go_on.wait()
        return httpx.Response(200)

    async with running(
        journal, loaded(tmp_path, "one", "two", more=", limits: {concurrency: 1}"), slow
    ) as bench:
        await bench.store(1, "two")
        bench.dispatcher.wake("two")
        await begun.wait()
        await bench.store(2, "two")
        bench.dispatcher.nudge("two")
        bench.apply(loaded(tmp_path, "one"))
        assert not bench.dispatcher.reserve("two", "dlv_none", event_of(3))
        go_on.set()
        await until(lambda: not bench.dispatcher.held)
        assert bench.journal.backlogs()["two"] == 1
        assert bench.sent == ["two"]
        bench.apply(loaded(tmp_path, "one", "two"))
        await bench.pending()
        assert bench.sent == ["two", "two"]


async def test_an_open_breaker_that_the_file_no_longer_has_is_closed(
    journal: Journal, tmp_path: Path
) -> None:
    """`breaker: null` lets out what an open breaker held back, however long its cooldown was."""
    await journal.open_breaker("one", probe_at=Clock().now() + 3600)
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:
        await bench.store(1, "one", due_at=bench.clock.now() + 3600)
        assert not bench.dispatcher.reserve("one", "dlv_none", event_of(3))
        bench.apply(loaded(tmp_path, "one", more=", breaker: null"))
        await bench.pending()


async def test_a_suspect_is_good_enough_to_probe_with(journal: Journal, tmp_path: Path) -> None:
    """A breaker behind which only a suspect delivery waits is probed with that one, and closes."""
    await journal.open_breaker("one", probe_at=Clock().now())
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:
        await bench.store(1, "one", owners_lost=2)
        await bench.pending()
        await until(lambda: bench.dispatcher.standing("one").opened_at is None)
        assert (await journal.standings())["one"].opened_at is None


async def test_a_journal_that_gives_nothing_out_is_left_alone(
    journal: Journal, tmp_path: Path, commits: Commits
) -> None:
    """While deliveries are due and somebody else has paused their destination, nobody asks in circles."""
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:
        await journal.pause("one", reason="operator")
        for number in range(20):
            await bench.store(number, "one")
        bench.dispatcher.wake("one")
        before = commits.jobs
        await asyncio.sleep(1.0)
        assert commits.jobs - before < 60
        assert not bench.sent


async def test_a_pause_stops_the_clock_of_max_age(journal: Journal, tmp_path: Path) -> None:
    """A delivery's age does not grow while its destination is paused, and its due time is by the wall."""

    async def busy(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    retry = ", retry: {max_age: 1h, first_wait: 1h, jitter: 0}"
    configuration = loaded(tmp_path, "one", more=retry)
    async with running(journal, configuration, busy) as bench:
        stored = await bench.store(1, "one", age_from=bench.clock.now() - 7200, owner=journal.node, fence=1)
        delivery = replace(stored, finished=1, attempts=2)
        destination, now = configuration.destinations["one"], bench.clock.now()

        async def tried(standing: Standing) -> tuple[Outcome, Decision, float | None]:
            gate = Gate(destination, standing, Share())
            made = await bench.attempt_runner.attempt(event_of(1), delivery, gate, lambda: True)
            assert made is not None
            return made.result.outcome, made.verdict.decision, made.verdict.due_at

        assert (await tried(Standing(name="one")))[:2] == (Outcome.EXPIRED, Decision.DEAD)
        outcome, decision, due_at = await tried(Standing(name="one", paused_for=5400.0))
        assert (outcome, decision) == (Outcome.HTTP_STATUS, Decision.RETRY)
        assert due_at == pytest.approx(now + 1800, abs=60)
        assert (await tried(Standing(name="one", paused_at=now - 5400)))[0] is Outcome.HTTP_STATUS


async def test_an_attempt_asks_again_after_whatever_it_waited_for(journal: Journal, tmp_path: Path) -> None:
    """The journal may be asked for earlier attempts before a request; a pause may come in between."""
    loaded(tmp_path, "one")
    path = tmp_path / "relay.yaml"
    path.write_text(path.read_text().replace("to: [one]", "to: [one], transform: {text: sent}"))
    configuration = config.load(path, {})
    (route,) = configuration.routes["in"]
    async with running(journal, configuration, ok) as bench:
        plain = await bench.store(1, "one", owner=journal.node, fence=1, attempts=2)
        gate = Gate(configuration.destinations["one"], Standing(name="one"), Share())
        rendered = replace(plain, route=route.name, transform=True)
        for delivery, answers, sent in (
            (rendered, [False], 0),
            (rendered, [True, False], 0),
            (rendered, [True, True], 1),
            (replace(plain, route="gone"), [True], 2),
        ):
            asked = iter(answers)
            made = await bench.attempt_runner.attempt(event_of(1), delivery, gate, lambda: next(asked))  # noqa: B023
            assert (made is not None, len(bench.sent), list(asked)) == (answers[-1], sent, [])


async def test_an_attempt_that_cannot_ask_the_journal_is_not_begun(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage spends none: whether it went out as it came before is asked again later."""

    async def away(_: str) -> list[Outcome]:
        raise JournalUnavailable("away")

    configuration = loaded(tmp_path, "one")
    async with running(journal, configuration, ok) as bench:
        delivery = await bench.store(1, "one", owner=journal.node, fence=1, attempts=2, transform=True)
        gate = Gate(configuration.destinations["one"], Standing(name="one"), Share())
        monkeypatch.setattr(journal, "outcomes", away)
        made = await bench.attempt_runner.attempt(
            event_of(1), replace(delivery, route="gone"), gate, lambda: True
        )
        assert made is None
        assert bench.sent == []


async def test_what_may_not_begin_any_more_is_given_back_unspent(journal: Journal, tmp_path: Path) -> None:
    """It was born owned before a pause came; its slot is free, its number too, and it goes out at the end."""
    async with running(journal, loaded(tmp_path, "one", more=", limits: {concurrency: 1}"), ok) as bench:
        await until(partial(bench.dispatcher.reserve, "one", f"dlv_{1:032x}", event_of(1)))
        delivery = await bench.store(1, "one", owner=journal.node, fence=1, attempts=1)
        paused = await journal.pause("one", reason="operator")
        await until(lambda: bench.dispatcher.standing("one") == paused.standing)
        await bench.dispatcher.run(event_of(1), (delivery,))
        assert not bench.sent
        assert not bench.dispatcher.held
        await journal.resume("one")
        await bench.pending()
        assert bench.sent == ["one"]
        assert await journal.outcomes(delivery.id) == [Outcome.DELIVERED]


async def test_who_has_not_looked_for_long_begins_nothing(journal: Journal, tmp_path: Path) -> None:
    """A process that was frozen begins nothing by what it knew before; it looks first."""
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:
        follower = bench.dispatcher._follower
        now = bench.clock.now()
        assert follower.may_begin(now)
        assert not follower.may_begin(now + 21)
        await follower.look(tell=True)
        assert follower.may_begin(bench.clock.now())


async def test_a_429_is_held_where_a_resume_came_a_moment_ago(journal: Journal, tmp_path: Path) -> None:
    """And a resume a moment after a 429 ends its hold, though no look lies between any of them."""
    answers = iter([429, 429, 200, 200])

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers), headers={"retry-after": "3600"})

    async with running(journal, loaded(tmp_path, "one"), answer) as bench:

        def is_held() -> bool:
            return bench.dispatcher.standing("one").held_until is not None

        for number in (1, 2):
            await bench.store(number, "one")
            bench.dispatcher.wake("one")
            await until(lambda: is_held() and not bench.dispatcher.held)
            assert (await journal.standings())["one"].held_until is not None
            assert len(bench.sent) == number
            await journal.resume("one")
            await until(lambda: not is_held() or len(bench.sent) > number)  # noqa: B023 - awaited here
        await bench.pending()
