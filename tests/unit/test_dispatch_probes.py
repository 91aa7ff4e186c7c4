"""Probes of an open breaker: what cannot be sent is no probe, and stands in no probe's way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay import config
from relay.config import Configuration
from relay.journal import Journal
from relay.process.clock import Clock
from tests.support.journals import prepare
from tests.unit.test_dispatch_dispatcher import Bench, Commits, Handler, ok, running, until

UNSENDABLE: Mapping[str, Mapping[str, Any]] = {
    "transform fails": {"route": "bad"},
    "route gone": {"route": "gone", "transform": True},
    "expired": {"route": "good", "finished": 1, "attempts": 1, "age_from": 0.0},
}


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


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """A destination that is probed once an hour, with a route that works and one whose transform fails."""
    path = tmp_path / "relay.yaml"
    path.write_text("""
sources: {in: {verify: none}}
destinations:
  one: {url: "http://127.0.0.1/one", breaker: {failures: 1, cooldown: 1h}, retry: {first_wait: 1h}}
routes:
  - {name: good, source: in, to: one}
  - {name: bad, source: in, to: one, transform: {text: "{{ body.no.such }}"}}
""")
    return config.load(path, {})


@asynccontextmanager
async def probing(journal: Journal, configuration: Configuration, handler: Handler) -> AsyncIterator[Bench]:
    """A dispatcher whose destination is open, paused until it is resumed, and due to be probed then."""
    await journal.open_breaker("one", probe_at=Clock().now())
    await journal.pause("one", reason="operator")
    async with running(journal, configuration, handler) as bench:
        yield bench


@pytest.mark.parametrize("why", UNSENDABLE)
async def test_what_cannot_be_sent_does_not_use_up_a_probe(
    journal: Journal, configuration: Configuration, commits: Commits, why: str
) -> None:
    """Fifty of them before a good one: the breaker closes without an hour's wait for each."""
    async with probing(journal, configuration, ok) as bench:
        for number in range(50):
            await bench.store(number, "one", **UNSENDABLE[why])
        await bench.store(50, "one", route="good")
        before = commits.jobs
        await journal.resume("one")
        await until(lambda: bench.dispatcher.standing("one").opened_at is None)
        assert bench.sent == ["one"]
        assert commits.jobs - before < 200, "each is claimed and settled, and nobody asks in circles"


async def test_a_probe_that_was_sent_is_the_only_one_for_its_time(
    journal: Journal, configuration: Configuration
) -> None:
    """What cannot be sent goes before it; behind a probe that failed, not even that is taken."""

    async def busy(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    async with probing(journal, configuration, busy) as bench:
        for number in range(20):
            await bench.store(number, "one", route="good" if number == 10 else "bad")
        await journal.resume("one")
        await until(
            lambda: bool(bench.sent) and journal.backlogs()["one"] == 10 and not bench.dispatcher.held
        )
        assert (await journal.probe("one", next_probe_at=0.0)).claims == []
        assert journal.backlogs()["one"] == 10
        assert bench.sent == ["one"]


async def test_a_turn_that_nothing_used_is_there_for_whoever_comes_next(
    journal: Journal, configuration: Configuration
) -> None:
    """Where all that was due cannot be sent, an event that comes later is the probe, at once."""
    async with probing(journal, configuration, ok) as bench:
        for number in range(5):
            await bench.store(number, "one", route="bad")
        await journal.resume("one")
        await until(lambda: journal.backlogs()["one"] == 0 and not bench.dispatcher.held)
        await bench.store(5, "one", route="good")
        bench.dispatcher.nudge("one")
        await until(lambda: bench.dispatcher.standing("one").opened_at is None)
