"""What an event reserved before it was stored is given back where anything keeps it from being stored."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.config import Configuration
from relay.ingest import Accepted, Ingest
from relay.journal import Journal
from relay.model import Request
from relay.process.clock import Clock
from relay.source_verifier import Verifier
from relay.telemetry import Telemetry
from tests.unit.test_dispatch_dispatcher import Bench, loaded, ok, running, until


class Broken(Exception):
    """A bug of Relay's own."""


class BrokenTelemetry(Telemetry):
    """Cannot tell of an event that was taken."""

    def event_accepted(self, **facts: object) -> None:
        """Meet the bug."""
        raise Broken


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An empty journal that this test's process owns."""
    opened = Journal.open(f"sqlite:///{tmp_path / 'relay.db'}", clock=Clock(), node="a" * 32)
    yield opened
    opened.close()


async def unreachable(url: str) -> bytes:
    """Sources without a signature need no document."""
    raise AssertionError(url)


def ingest_of(bench: Bench, configuration: Configuration, telemetry: Telemetry) -> Ingest:
    """An ingest beside the bench's dispatcher."""
    return Ingest(
        configuration=configuration,
        journal=bench.journal,
        dispatcher=bench.dispatcher,
        verifier=Verifier(unreachable, bench.clock),
        telemetry=telemetry,
        clock=bench.clock,
    )


async def accept(ingest: Ingest, configuration: Configuration, now: float) -> Accepted:
    """Have one request taken."""
    request = Request(
        method="POST", path="/in", query=b"", headers=(), body=b"{}", url="", remote=None, received_at=now
    )
    taken = await ingest.accept(configuration.sources["in"], {}, request, wall=now)
    assert isinstance(taken, Accepted)
    return taken


async def test_a_plan_that_fails_gives_back_what_it_reserved(journal: Journal, tmp_path: Path) -> None:
    """The first destination's slot and room are free again where a bug is met at the second one."""
    known = loaded(tmp_path, "one", more=", limits: {concurrency: 1}")
    async with running(journal, known, ok) as bench:
        gate = bench.dispatcher._gates["one"]
        await until(lambda: not gate.slots.is_due(bench.clock.now()))
        both = loaded(tmp_path, "one", "two")
        ingest = ingest_of(bench, both, bench.telemetry)
        with pytest.raises(KeyError, match="two"):  # which only the ingest knows
            await accept(ingest, both, bench.clock.now())
        assert gate.slots.in_flight == 0
        assert bench.bodies.used == 0
        ingest.replace(known)
        assert (await accept(ingest, known, bench.clock.now())).owned


async def test_an_event_that_is_stored_is_accepted_whatever_follows(journal: Journal, tmp_path: Path) -> None:
    """A bug after the commit is reported; the sender hears of its event, and its deliveries are made."""
    configuration, log = loaded(tmp_path, "one"), io.StringIO()
    async with running(journal, configuration, ok) as bench:
        with BrokenTelemetry.configure(stream=log) as telemetry:
            ingest = ingest_of(bench, configuration, telemetry)
            gate = bench.dispatcher._gates["one"]
            await until(lambda: not gate.slots.is_due(bench.clock.now()))
            taken = await accept(ingest, configuration, bench.clock.now())
        assert log.getvalue().count("Traceback") == 1
        await bench.dispatcher.run(taken.event, taken.owned)
        await bench.pending()
        assert bench.sent == ["one"]
        assert gate.slots.in_flight == 0
