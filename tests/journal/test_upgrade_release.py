"""A journal that the first Relay itself wrote goes on: every event, every delivery, every byte.

`releases/first.sql` is what that program left behind: one delivery delivered, one dead, two due, one due
later, one without a due time, and one that its node held when it was killed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from relay.errors import JournalRefused
from relay.journal import Journal, Reader, copy, examine, schema, upgrade
from relay.model import DeliveryState
from tests.journal.making import NOW, StillClock, by_hand, make_entry, make_laned, make_settlement, opened
from tests.support.databases import Databases

FIRST = Path(__file__).parent / "releases" / "first.sql"
WAITING = {"billing": 1, "chat": 1, "crm": 1, "parked": 1, "owned": 1}


@pytest.fixture
def first(tmp_path: Path) -> str:
    """The first program's journal."""
    path = tmp_path / "relay.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(FIRST.read_text())
    connection.close()
    return f"sqlite:///{path}"


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


async def test_it_can_be_moved_to_postgresql(first: str, databases: Databases, clock: StillClock) -> None:
    """Once it is upgraded; and goes on there."""
    with databases.one(empty=True) as new:
        with pytest.raises(JournalRefused, match="relay journal upgrade"):
            copy(first, new, lambda *_: None)
        upgrade(first)
        copied = copy(first, new, lambda *_: None)
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
