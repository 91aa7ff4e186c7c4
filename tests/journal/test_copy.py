"""An SQLite journal moved to PostgreSQL: all of it, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relay.cli.app import app
from relay.errors import JournalRefused, JournalUnavailable
from relay.journal import Entry, Journal, Reader, Retention, copy_journal, take_back
from relay.model import Dedup, DeliveryState, EventState, indexed
from tests.journal.making import StillClock, by_hand, make_delivery, make_event, make_settlement, opened
from tests.support import Receiver, RelayProcess, eventually
from tests.support.databases import Databases

TABLES = {
    "event": "seq",
    "delivery": "seq",
    "attempt": "delivery_id, number",
    "lane": "destination, key",
    "ledger": "source, destination, counter",
    "destination": "name",
}
ODD = bytes(range(256))


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The URL of the old journal."""
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
def new(databases: Databases) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with databases.one(empty=True) as url:
        yield url


async def fill(url: str, events: int) -> None:
    """Write a journal with something of everything, and `events` deliveries that are due."""
    clock = StillClock()
    clock.at = now = time.time()
    with opened(url, clock=clock) as journal:
        await _finished(journal, now)
        await _waiting(journal, now)
        for _ in range(0, events, 500):
            await asyncio.gather(
                *(journal.append(_entry(now, "billing", body=b"{}")) for _ in range(min(500, events)))
            )
        await journal.pause("resting", reason="n\0on\udcffsense")


def _entry(now: float, *names: str, key: str | None = None, lane: str | None = None, **changes: Any) -> Entry:
    values: dict[str, Any] = {"received_at": now, "body": ODD, "type": "a\0b\udcff"} | changes
    event = make_event(**values)
    dedup = None if key is None else Dedup(key=key, body_hash=b"\0hash", expires_at=now + 3600)
    deliveries = tuple(make_delivery(event, name, lane=lane, hold=lane is not None) for name in names)
    return Entry(event=event, deliveries=deliveries, dedup=dedup)


async def _finished(journal: Journal, now: float) -> None:
    for name, state in (("chat", DeliveryState.DELIVERED), ("crm", DeliveryState.DEAD)):
        await journal.append(_entry(now, name, key=f"id\0of {name}"))
        (claim,) = await journal.claim(name, 1)
        await journal.settle(make_settlement(claim.delivery, state, response=ODD))
    await journal.append(_entry(now, state=EventState.FILTERED, reason="no_match"))
    # As an earlier program wrote it, which hashed none, and then as today's does.
    long = secrets.token_hex(4500)
    for key in (long, indexed(long)):
        await journal.append(_entry(now, key=key, state=EventState.FILTERED, reason="no_match"))
    await journal.append(_entry(now, "gone"))
    (claim,) = await journal.claim("gone", 1)
    await journal.settle(make_settlement(claim.delivery))
    assert (await journal.purge(_Nothing(), now + 1)).events


async def _waiting(journal: Journal, now: float) -> None:
    await asyncio.gather(*(journal.append(_entry(now, "ordered", lane="c\0\udcff")) for _ in range(3)))
    await journal.append(_entry(now, "resting"))


class _Nothing(Retention):
    """What is delivered is not kept."""

    delivered, filtered, dead, max_size = 0.0, 1e9, 1e9, None


def told(table: str, done: int, total: int) -> None:
    """Nobody listens."""


def rows(url: str, table: str, order: str) -> list[tuple[Any, ...]]:
    """All of a table, in an order, each value as plain as the other engine has it."""
    with by_hand(url) as connection:
        names = [column for column in _columns(connection, url, table) if column != "slot"]
        found = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}").fetchall()
    return [tuple(int(one) if isinstance(one, bool) else one for one in row) for row in found]


def _columns(connection: Any, url: str, table: str) -> list[str]:
    if url.startswith("sqlite"):
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    with by_hand(url) as other:
        return [column.name for column in other.execute(f"SELECT * FROM {table} LIMIT 0").description]


async def test_all_of_it_is_there_to_the_last_byte(old: str, new: str) -> None:
    """Every table, whatever the senders wrote; a key that no index takes stands there once, as its hash."""
    await fill(old, 50)
    copied = copy_journal(old, new, told)
    assert copied is not None
    assert copied.same
    assert copied.skipped == 1
    for table, order in TABLES.items():
        assert sorted(rows(new, table, order), key=repr) == sorted(_named(old, new, table, order), key=repr)
    with by_hand(old) as was, by_hand(new) as now:
        before = was.execute("SELECT * FROM dedup ORDER BY length(key)").fetchall()
        *kept, _, whole = before
        hashed = indexed(whole[1].decode()).encode()
        kept.append((whole[0], hashed, *whole[2:]))
        assert kept == now.execute("SELECT * FROM dedup ORDER BY length(key)").fetchall()
        facts = [
            dict(one.execute("SELECT key, value FROM meta WHERE key IN ('id', 'reload')").fetchall())
            for one in (was, now)
        ]
        assert facts[0] == facts[1]


def _named(old: str, new: str, table: str, order: str) -> list[tuple[Any, ...]]:
    """The old rows with their columns in the order of the new ones."""
    with by_hand(new) as one:
        names = [
            column.name
            for column in one.execute(f"SELECT * FROM {table} LIMIT 0").description
            if column.name != "slot"
        ]
    with by_hand(old) as connection:
        return list(connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}"))


CUT_OFF = """
import os, signal, sys
from relay.journal import copy_journal

left = int(sys.argv[3])

def told(table, done, total):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

copy_journal(sys.argv[1], sys.argv[2], told)
"""


def cut_off(old: str, new: str, batches: int) -> None:
    """Copy so many batches, then die."""
    done = subprocess.run([sys.executable, "-c", CUT_OFF, old, new, str(batches)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.timeout(400)
async def test_a_copy_that_is_killed_again_and_again_goes_on(old: str, new: str, tmp_path: Path) -> None:
    """4,000 events; killed in the middle twice; then the service delivers on PostgreSQL what waited."""
    await fill(old, 4_000)
    for batches in (5, 2):
        cut_off(old, new, batches)
        for url in (old, new):
            with pytest.raises(JournalRefused, match="relay journal copy"), opened(url):
                pass
    copied = copy_journal(old, new, told)
    assert copied is not None
    assert copied.same
    assert copy_journal(old, new, told) is None

    with Receiver() as receiver:
        config = f"""
sources: {{github: {{verify: {{scheme: none}}}}}}
destinations:
  billing: {{url: "{receiver.url}/billing"}}
  ordered: {{url: "{receiver.url}/ordered", order: {{key: body.customer, on_dead: hold}}}}
  resting: {{url: "{receiver.url}/resting"}}
routes:
  - {{name: all, source: github, to: [billing, ordered, resting]}}
"""
        with RelayProcess(tmp_path / "service", config, journal=new) as relay:
            eventually(lambda: _delivered(relay) >= 4_003, timeout=200)
            assert _pending(relay) == {"resting": 1}
            assert relay.cli("ledger").code == 0
            assert relay.post("github", b"{}").status == 202
    assert len([one for one in receiver.requests if one.path == "/billing"]) >= 4_000


def _status(relay: RelayProcess) -> list[dict[str, Any]]:
    destinations: list[dict[str, Any]] = relay.cli("status", "--json").json()["destinations"]
    return destinations


def _delivered(relay: RelayProcess) -> int:
    return sum(one["delivered"] for one in _status(relay) if one["name"] in {"billing", "ordered"})


def _pending(relay: RelayProcess) -> dict[str, int]:
    return {one["name"]: one["pending"] for one in _status(relay) if one["pending"]}


async def test_numbers_are_given_on_from_where_they_were(old: str, new: str) -> None:
    """Also those whose rows are purged: a mark or a page may remember them."""
    await fill(old, 1)
    with by_hand(old) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 500")
    assert copy_journal(old, new, told) is not None
    with opened(new) as journal:
        await journal.append(_entry(time.time(), "billing"))
    with by_hand(new) as connection:
        for table in ("event", "delivery"):
            assert connection.execute(f"SELECT max(seq) FROM {table}").fetchone() == (501,)


async def test_a_journal_that_is_served_is_not_moved(old: str, new: str) -> None:
    """It is named, and goes on as if nothing had been asked; the new database stays empty."""
    with opened(old) as journal:
        with pytest.raises(JournalRefused, match=r"being served by .*process"):
            copy_journal(old, new, told)
        with by_hand(new) as connection:
            assert connection.execute("SELECT to_regclass('event')").fetchone() == (None,)
        await journal.append(_entry(time.time(), "billing"))
    assert copy_journal(old, new, told) is not None


async def test_a_database_with_something_in_it_is_left_alone(old: str, databases: Databases) -> None:
    """The events of two journals are not mixed."""
    await fill(old, 1)
    with databases.one() as new:
        with opened(new) as journal:
            await journal.append(_entry(time.time(), "billing"))
        with pytest.raises(JournalRefused, match="holds something already, in the tables delivery, event"):
            copy_journal(old, new, told)
        with Reader.open(new) as reader:
            assert len(reader.events()) == 1
    with opened(old):
        pass


async def test_an_old_journal_can_be_taken_back(old: str, new: str) -> None:
    """Then it serves as before, and what was begun of the copy is no journal to anybody."""
    await fill(old, 1500)
    cut_off(old, new, 2)
    assert str(take_back(old)).startswith("postgresql://")
    with opened(old) as journal:
        await journal.append(_entry(time.time(), "billing"))
    with pytest.raises(JournalRefused, match="holds something already"):
        copy_journal(old, new, told)
    with pytest.raises(JournalRefused, match="unfinished copy"), opened(new):
        pass


async def test_a_row_that_postgresql_refuses_is_named(old: str, new: str) -> None:
    """Nothing is left out silently; mended, the copy goes on."""
    await fill(old, 5)
    with by_hand(old) as connection:
        connection.execute("UPDATE event SET remote = 'a' || char(0) || 'b' WHERE seq = 3")
    with pytest.raises(JournalRefused, match=r"a row of event \(seq 3, id 'evt_.*NUL"):
        copy_journal(old, new, told)
    with by_hand(old) as connection:
        connection.execute("UPDATE event SET remote = NULL WHERE seq = 3")
    copied = copy_journal(old, new, told)
    assert copied is not None
    assert copied.same


async def test_books_that_do_not_agree_keep_the_new_journal_closed(old: str, new: str) -> None:
    """The command ends with 1, shows the ledger, and nobody serves what is not the same."""
    await fill(old, 1500)
    cut_off(old, new, 11)
    with by_hand(new) as connection:
        connection.execute("DELETE FROM event WHERE seq = 7")
    result = CliRunner().invoke(app, ["journal", "copy", old, new])
    assert (result.exit_code, "DO NOT AGREE" in result.output) == (1, True)
    with pytest.raises(JournalRefused, match="unfinished copy"), opened(new):
        pass


async def test_the_command_tells_what_it_does(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe, line by line; TO may be RELAY_JOURNAL; `--undo` takes it back once."""
    await fill(old, 5)
    monkeypatch.setenv("RELAY_JOURNAL", new)
    run = CliRunner()
    result = run.invoke(app, ["journal", "copy", old])
    assert result.exit_code == 0, result.output
    assert "delivery: 10 of 10" in result.output
    assert "left out: 1 dedup key" in result.output
    assert "Both journals agree." in result.output
    assert "nothing to do" in run.invoke(app, ["journal", "copy", old]).output
    assert [run.invoke(app, ["journal", "copy", old, "--undo"]).exit_code for _ in range(2)] == [0, 1]
    assert run.invoke(app, ["journal", "copy", new, old]).exit_code == 2


def test_a_server_that_is_not_there_changes_nothing(old: str, tmp_path: Path) -> None:
    """The old journal is given up only for a database that takes it."""
    with opened(old):
        pass
    with pytest.raises((JournalRefused, JournalUnavailable)):
        copy_journal(old, f"postgresql://me@/relay?host={tmp_path}", told)
    with opened(old):
        pass
    assert json.loads((tmp_path / "relay.db.mark").read_text())["journal"]
