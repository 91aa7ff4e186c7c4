"""Commands on a journal that is served go by its time, no wall clock, and wait for those who serve it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from relay.cli import wait_until_taken
from relay.cli.app import app
from relay.journal import Entry, Journal, Reader
from relay.model import Delivery
from relay.process.clock import Clock
from tests.journal.making import by_hand, make_delivery, make_event, make_settlement
from tests.support.journals import prepare

HOUR = 3600.0
MINUTE = 60.0

Run = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A journal that does not exist yet."""
    return prepare(tmp_path / "relay.db")


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on it, without a file."""
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "relay.yaml"))
    monkeypatch.setenv("RELAY_JOURNAL", url)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@contextmanager
def served(url: str, off: float) -> Iterator[tuple[Journal, Clock]]:
    """A process serves it, and its clock is so far from this machine's wall clock."""
    clock = Clock()
    clock.start_at(time.time() + off)
    journal = Journal.open(url, clock=clock, node=uuid.uuid4().hex)
    try:
        yield journal, clock
    finally:
        journal.close()


def store(journal: Journal, at: float, *, is_delivered: bool) -> Delivery:
    """An event that came then, delivered at once or due half an hour later."""
    event = make_event(received_at=at)
    delivery = make_delivery(event, owner=journal.node if is_delivered else None, due_at=at + HOUR / 2)

    async def tell() -> None:
        await journal.append(Entry(event=event, deliveries=(delivery,)))
        if is_delivered:
            assert (await journal.settle(make_settlement(delivery))).done

    asyncio.run(tell())
    return delivery


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_commands_go_by_the_time_of_who_serves(run: Run, url: str, off: float) -> None:
    """The wall clock was set by an hour since the service started: "due now" is now, and a minute is one."""
    for ago in (40 * MINUTE, 20 * MINUTE):
        with served(url, off - ago) as (journal, clock):
            store(journal, clock.now(), is_delivered=True)
    with served(url, off) as (journal, clock), Reader.open(url) as reader:
        waits = store(journal, clock.now(), is_delivered=False)
        now = clock.now()
        assert reader.now() == pytest.approx(now, abs=60)
        assert "retried: due now" in run("retry", waits.id).stdout
        assert run("replay", waits.event_id, "--yes").exit_code == 0
        for one in reader.deliveries_of(waits.event_id):
            assert now - 60 <= (one.due_at or 0) <= clock.now()
            assert one.created_at <= clock.now()
        assert len(asyncio.run(journal.claim("billing", 9))) == 2
        for command in ("pause", "resume"):
            assert run(command, "billing").exit_code == 0
        assert reader.standing("billing").paused_for < MINUTE
        assert run("events", "--since", "30m", "--json").stdout.count('"evt_') == 2
        assert "1 event purged" in run("journal", "purge", "--before", "30m", "--yes").stdout


def test_all_who_serve_a_file_go_by_one_time(url: str) -> None:
    """One that starts after the wall clock was set goes by those that live, not by the wall clock."""
    with served(url, HOUR) as (_, first), served(url, -HOUR) as (_, second):
        assert second.now() == pytest.approx(first.now(), abs=60)
    with served(url, -HOUR) as (_, third):
        assert third.now() == pytest.approx(time.time() - HOUR, abs=60), "nobody else lived"


def test_a_process_that_is_gone_tells_no_time(url: str) -> None:
    """What a killed one left behind may be of another day, and before the machine started anew."""
    with served(url, 0), by_hand(url) as other:
        other.execute("UPDATE node SET id = 'dead', clock = 5")
        with Reader.open(url) as reader:
            assert reader.now() == pytest.approx(time.time(), abs=60)


def is_at(url: str, change: int | None, *, tables: int = 3) -> None:
    """Have the process that serves say that it has taken this change."""
    with by_hand(url) as other:
        other.execute("UPDATE node SET change = ?, tables = ?", (change, tables))


def test_a_pause_waits_for_every_process_and_names_who_has_not_taken_it(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the time from which that one can begin nothing more; asked again, the same."""
    monkeypatch.setattr(wait_until_taken, "WITHIN", 0.2)
    with served(url, 0) as (journal, clock):
        store(journal, clock.now(), is_delivered=False)
        is_at(url, 0)
        for told in ("billing is paused", "was paused already"):
            result = run("pause", "billing")
            assert result.exit_code == 1
            assert told in result.output
            assert re.search(
                r"process \d+ \(node [0-9a-f]{8}\) has not taken the change, and may still begin attempts"
                r" until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(in 2\d?s\)",
                result.output.replace("\n", " "),
            )
        is_at(url, 1)
        result = run("resume", "billing")
        assert result.exit_code == 1
        assert "has not taken the change" in result.output
        is_at(url, 99)
        assert run("pause", "billing").exit_code == 0
        assert run("resume", "billing").exit_code == 0


def test_who_cannot_have_begun_anything_is_not_waited_for(run: Run, url: str) -> None:
    """A process that has not looked yet; of one of an older Relay nobody knows, so it is named."""
    with served(url, 0) as (journal, clock):
        store(journal, clock.now(), is_delivered=False)
        is_at(url, None)
        assert run("pause", "billing").exit_code == 0
        is_at(url, None, tables=2)
        result = run("resume", "billing")
        assert result.exit_code == 1
        assert "runs an older Relay" in result.output
    assert run("pause", "billing").exit_code == 0, "nobody serves"
