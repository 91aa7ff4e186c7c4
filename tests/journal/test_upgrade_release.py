"""A journal that an older Relay itself wrote goes on: every event, every delivery, every byte.

`releases/first.sql` is what that program left behind: one delivery delivered, one dead, two due, one due
later, one without a due time, and one that its node held when it was killed. `releases/second.sql` is of the
version after it: with a destination that is paused, one that is open, one that is held, and a held lane.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from relay.errors import JournalRefused
from relay.journal import Journal, Reader, copy_journal, examine, upgrade
from relay.journal.tables import schema
from relay.model import DeliveryState, Standing
from tests.journal.making import NOW, StillClock, by_hand, make_entry, make_laned, make_settlement, opened
from tests.support.databases import Databases

FIRST = Path(__file__).parent / "releases" / "first.sql"
SECOND = FIRST.with_name("second.sql")
WAITING = {"billing": 1, "chat": 1, "crm": 1, "parked": 1, "owned": 1}


def written(release: Path, path: Path) -> str:
    """A journal as an older program left it behind, with the files of its nodes, which were killed."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(release.read_text())
    for (node,) in connection.execute("SELECT id FROM node"):
        path.with_name(f"{path.name}.node-{node}").touch()
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture
def first(tmp_path: Path) -> str:
    """The first program's journal."""
    return written(FIRST, tmp_path / "relay.db")


@pytest.fixture
def second(tmp_path: Path) -> str:
    """That of the version after it."""
    return written(SECOND, tmp_path / "relay.db")


def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """What must be the same afterwards."""
    queries = {
        "event": "SELECT id, source, type, provider_id, received_at, headers, body, state FROM event",
        "delivery": "SELECT id, event_id, route, destination, key, state, attempts, outcome FROM delivery",
        "attempt": "SELECT delivery_id, number, outcome, status, response FROM attempt",
        "dedup": "SELECT source, key, event_id, body_hash, expires_at FROM dedup",
        "ledger": "SELECT source, destination, counter, value FROM ledger",
    }
    with by_hand(url) as connection:
        return {name: sorted(connection.execute(query).fetchall()) for name, query in queries.items()}


def test_the_upgrade_keeps_every_row(first: str) -> None:
    """By the command, which says from where to where, and once."""
    before = everything(first)
    assert {one.about for one in examine(first) if not one.ok} == {"journal"}
    assert upgrade(first) == (1, schema.VERSION)
    assert everything(first) == before
    assert upgrade(first) == (schema.VERSION, schema.VERSION)


async def test_all_that_waited_is_delivered(first: str, clock: StillClock) -> None:
    """`serve` upgrades a file by itself; what the killed node held is taken over."""
    with opened(first, clock=clock) as journal, Reader.open(first) as reader:
        await _goes_on(journal, reader, clock)


async def test_what_kept_destinations_back_does_so_still(second: str, clock: StillClock) -> None:
    """Nothing is lost by the upgrade, and a change is counted from there on."""
    before = everything(second)
    assert upgrade(second) == (2, schema.VERSION)
    assert everything(second) == before
    with opened(second, clock=clock) as journal, Reader.open(second) as reader:
        assert [one.destination for one in await journal.rescue()] == ["owned"]
        assert await journal.standings() == {
            "billing": Standing(name="billing"),
            "paused": Standing(name="paused", paused_at=NOW, pause_reason="HTTP 410"),
            "open": Standing(name="open", opened_at=NOW, probe_at=NOW + 30),
            "held": Standing(name="held", held_until=NOW + 3600),
        }
        for name in ("paused", "open", "held", "lane"):
            assert await journal.claim(name, 9) == []
        resumed = await journal.resume("paused")
        assert (resumed.due, resumed.number, resumed.standing.version) == (1, 1, 1)
        await journal.wake()
        for name in ("billing", "paused", "parked", "owned"):
            (claim,) = await journal.claim(name, 9)
            assert (await journal.settle(make_settlement(claim.delivery))).done
        assert reader.ledger().balanced


async def test_a_node_of_the_version_before_goes_on_beside_newer_ones(second: str) -> None:
    """What it writes has a default for what it does not know, and it is told that it does not answer."""
    upgrade(second)
    with opened(second) as journal, by_hand(second) as older:
        older.execute(
            "INSERT INTO node (id, started_at, version, host, pid, slot, tables)"
            " VALUES ('old', 0, '0.1.0', 'vm', 1, 0, 2)"
        )
        older.execute("INSERT INTO destination (name) VALUES ('new')")
        older.execute(f"UPDATE destination SET paused_at = {NOW} WHERE name = 'new'")
        assert (await journal.standings())["new"].paused_at == NOW
        with Reader.open(second) as reader:
            answers = {one.id: (one.answers, one.change) for one in reader.nodes()}
        assert answers["old"] == (False, None)
        assert answers[journal.node] == (True, None)


async def test_it_can_be_moved_to_postgresql(first: str, databases: Databases, clock: StillClock) -> None:
    """Once it is upgraded; and goes on there."""
    with databases.one(empty=True) as new:
        with pytest.raises(JournalRefused, match="relay journal upgrade"):
            copy_journal(first, new, lambda *_: None)
        upgrade(first)
        copied = copy_journal(first, new, lambda *_: None)
        assert copied is not None
        assert copied.same
        with opened(new, clock=clock) as journal, Reader.open(new) as reader:
            await _goes_on(journal, reader, clock)


async def _goes_on(journal: Journal, reader: Reader, clock: StillClock) -> None:
    clock.at = NOW + 61
    rescued = await journal.rescue()
    assert [one.destination for one in rescued] == ["owned"]
    await journal.wake()
    found: dict[str, int] = {}
    for name in WAITING:
        for claim in await journal.claim(name, 9):
            found[name] = found.get(name, 0) + 1
            assert (await journal.settle(make_settlement(claim.delivery))).done
    assert found == WAITING
    assert (await journal.append(make_entry("billing", key="id-0\0\udcff"))).kind == "duplicate"
    await journal.append(make_laned())
    states = [one.state for one in reader.deliveries()]
    assert states.count(DeliveryState.DEAD) == 1
    assert reader.ledger().balanced
