"""A journal of an older Relay is upgraded by the service, with all that waits in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from relay.errors import JournalRefused
from relay.journal import Reader
from tests.journal.making import NOW, StillClock, by_hand, make_laned, make_settlement, opened, path_of

DELIVERIES = [
    # id, state, due_at, owner, fence, attempts
    ("dlv_due", "pending", NOW, None, 1, 1),
    ("dlv_later", "pending", NOW + 60, None, 0, 0),
    ("dlv_parked", "pending", None, None, 1, 0),
    ("dlv_owned", "pending", NOW, "gone", 1, 1),
    ("dlv_dead", "dead", None, None, 1, 1),
]


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """SQLite alone: the first version knew no other engine."""
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
def first(engine: str) -> str:
    """A journal as the first version left it, with a delivery of every kind."""
    path_of(engine).touch(mode=0o600)
    _upgrade_to(engine, "0001")
    with by_hand(engine) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for key, value in {"id": "first", "version": "1", "oldest": "1", "probed_at": "0"}.items():
            connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        connection.execute(
            "INSERT INTO event (id, source, received_at, method, path, query, state, planned, headers, body)"
            " VALUES ('evt_1', 'github', ?, x'', x'', x'', 'routed', 5, x'00000000', x'7b7d')",
            (NOW,),
        )
        for row in DELIVERIES:
            _plan(connection, *row)
        for counter, number in {"accepted": 1, "planned": 5}.items():
            destination = "" if counter == "accepted" else "billing"
            connection.execute(
                "INSERT INTO ledger VALUES ('github', ?, ?, ?, ?)", (destination, counter, number, NOW)
            )
        connection.execute("INSERT INTO destination VALUES ('billing', x'626f6f6d', ?)", (NOW,))
    return engine


def _upgrade_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "relay:journal/migrations")
    made = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _plan(connection: sqlite3.Connection, *row: object) -> None:
    identity, state, due_at, owner, fence, attempts = row
    values = {
        "id": identity,
        "event_id": "evt_1",
        "source": "github",
        "route": "all",
        "destination": "billing",
        "key": identity,
        "state": state,
        "attempts": attempts,
        "finished": 0,
        "due_at": due_at,
        "owner": owner,
        "owned_at": None if owner is None else NOW,
        "fence": fence,
        "owners_lost": 0,
        "transform": 0,
        "created_at": NOW,
        "age_from": NOW,
        "finished_at": NOW if state == "dead" else None,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO delivery ({names}) VALUES ({marks})", tuple(values.values()))


def test_who_only_reads_is_told_who_upgrades(first: str) -> None:
    """Commands and readers leave an older journal as it is."""
    with pytest.raises(JournalRefused, match="`relay journal upgrade`"):
        Reader.open(first)
    with pytest.raises(JournalRefused, match="`relay journal upgrade`"), opened(first, create=False):
        pass


async def test_what_waited_goes_on(first: str, clock: StillClock) -> None:
    """Due, later, without a due time, owned by a node that is gone, dead: nothing is lost."""
    clock.at += 60
    with opened(first, clock=clock) as journal, Reader.open(first) as reader:
        await journal.rescue()
        await journal.retry(["dlv_dead"])
        claims = await journal.claim("billing", 9)
        assert {claim.delivery.id for claim in claims} == {row[0] for row in DELIVERIES}
        for claim in claims:
            assert (await journal.settle(make_settlement(claim.delivery))).done
        assert reader.ledger().balanced
        assert reader.status().destinations[0].last_error == "boom"
        assert await journal.request_reload() == 1
        await journal.append(make_laned())
        assert len(await journal.claim("billing", 9)) == 1


def test_an_older_program_refuses_it_then(first: str) -> None:
    """It would let two of a lane go out at once."""
    with opened(first):
        pass
    with by_hand(first) as connection:
        facts = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    assert (facts["id"], facts["version"], facts["oldest"]) == ("first", "3", "2")
