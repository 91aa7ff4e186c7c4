"""A database that was put back to an earlier state lacks what its nodes know to be committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from relay.errors import JournalUnavailable
from relay.journal import Journal, Loss, Reader
from relay.journal.writer import rewind
from tests.journal.making import StillClock, Told, by_hand, make_entry, opened
from tests.support.databases import Databases


@pytest.fixture
def engine(databases: Databases) -> Iterator[str]:
    """PostgreSQL alone: an SQLite file is watched by its path and its mark."""
    with databases.one() as url:
        yield url


async def store(journal: Journal, number: int) -> None:
    """Have so many events acknowledged."""
    await asyncio.gather(*(journal.append(make_entry("billing")) for _ in range(number)))


def cut_off(url: str) -> None:
    """End every connection but this one."""
    with by_hand(url) as hand:
        hand.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextlib.contextmanager
def put_back(url: str) -> Iterator[None]:
    """Put the tables back, at the end, to where they are now; all that is committed in between is gone."""
    tables = ("event", "delivery", "ledger", "meta", "node", "dedup", "attempt")
    with psycopg.connect(url, autocommit=True) as hand:
        for table in tables:
            hand.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}".encode())
        yield
        with hand.transaction():
            for table in tables:
                hand.execute(f"TRUNCATE {table}".encode())
                hand.execute(f"INSERT INTO {table} SELECT * FROM old_{table}".encode())
                hand.execute(f"DROP TABLE old_{table}".encode())
    cut_off(url)


async def insist(*journals: Journal) -> None:
    """Store one more event on each, as soon as it takes one."""
    async with asyncio.timeout(20):
        for journal in journals:
            while True:
                with contextlib.suppress(JournalUnavailable):
                    await journal.append(make_entry("billing"))
                    break
                await asyncio.sleep(0.02)


async def test_a_server_that_is_only_away_for_a_moment_is_not_mentioned(engine: str) -> None:
    """The control: nothing is missing."""
    hooks = Told()
    with opened(engine, hooks=hooks) as journal, Reader.open(engine) as reader:
        await store(journal, 10)
        cut_off(engine)
        await insist(journal)
        assert hooks.recoveries == 1
        assert (hooks.rewinds, reader.losses()) == ([], ())


@pytest.mark.parametrize("server", ["same", "another"])
async def test_two_nodes_notice_together_what_each_of_them_has_lost(engine: str, server: str) -> None:
    """The number is that of both, each is counted once, and it stays until an operator accepts it."""
    hooks = [Told(), Told()]
    clock = StillClock()
    with (
        opened(engine, hooks=hooks[0], clock=clock) as one,
        opened(engine, hooks=hooks[1], clock=clock) as two,
        Reader.open(engine) as reader,
    ):
        await store(one, 20)
        await store(two, 10)
        clock.at += 7
        with put_back(engine):
            clock.at += 11  # each sees how far the other is
            await store(one, 30)
            await store(two, 5)
            clock.at += 11
            await insist(one, two)
            clock.at += 11  # each sees all that the other has
            for journal in (one, two):
                await journal._do(lambda _: None)
        for journal in (one, two) if server == "another" else ():
            journal._writer._witness._server = "another/00000001"
        await insist(one, two)
        (loss,) = reader.losses()
        assert loss.events == 37
        assert set(loss.slots.values()) == {31, 6}
        assert loss.since == clock.at - 40
        assert [hook.rewinds for hook in hooks] == [[(loss.id, 37, loss.since)]] * 2
        assert reader.status().losses == (loss,)
        cut_off(engine)
        await insist(one, two)
        assert reader.losses() == (loss,), "nothing more is missing"
        assert await one.accept_loss("no such id") is None
        accepted = await one.accept_loss(loss.id)
        assert isinstance(accepted, Loss)
        assert reader.losses() == ()
        assert await one.accept_loss(loss.id) is None
        assert reader.ledger().balanced


async def test_what_a_node_that_is_gone_has_lost_is_noticed_by_one_that_lives(engine: str) -> None:
    """It saw how far the other was when it last looked."""
    hooks, clock = Told(), StillClock()
    with opened(engine, hooks=hooks, clock=clock) as lives, Reader.open(engine) as reader:
        with put_back(engine):
            with opened(engine, clock=clock) as other:
                await store(other, 12)
            clock.at += 11
            await store(lives, 3)
        await insist(lives)
        (loss,) = reader.losses()
        assert loss.events == 15


async def test_another_server_that_has_all_is_no_loss(engine: str) -> None:
    """A failover without a loss is a warning in the log, once, and nothing else."""
    hooks = Told()
    with opened(engine, hooks=hooks) as journal, Reader.open(engine) as reader:
        await store(journal, 3)
        journal._writer._witness._server = "another/00000001"
        cut_off(engine)
        await insist(journal)
        assert hooks.rewinds == [(None, 0, None)]
        assert reader.losses() == ()
        cut_off(engine)
        await insist(journal)
        assert len(hooks.rewinds) == 1


async def test_another_server_that_no_node_outlived_is_told_without_a_number(engine: str) -> None:
    """The journal knows on which server it was last; what is missing, nobody knows."""
    with opened(engine) as journal:
        await store(journal, 3)
    with by_hand(engine) as hand:
        hand.execute("UPDATE meta SET value = 'another/00000001' WHERE key = 'server'")
    hooks = Told()
    for _ in range(2):
        with opened(engine, hooks=hooks) as journal:
            await store(journal, 3)
    assert hooks.rewinds == [(None, None, None)]


async def test_one_look_reads_a_bounded_number_of_slots(engine: str) -> None:
    """Where many nodes live they are read in turns; one that has ended is read once more, and that is all."""
    clock = StillClock()

    async def known_after_a_look(journal: Journal) -> Counter[int]:
        clock.at += rewind.LOOK_EVERY
        await journal._do(lambda _: None)
        return Counter((journal._writer._witness._accepted or {}).values())

    with opened(engine, clock=clock) as journal, by_hand(engine) as hand:
        hand.execute(
            "INSERT INTO node (id, started_at, version, host, pid, slot)"
            " SELECT 'node' || n, 1, '1', 'host', 1, n FROM generate_series(1, 40) n"
        )
        hand.execute(
            "INSERT INTO ledger (source, destination, counter, slot, value, at)"
            " SELECT source, '', counter, slot, 1, 1 FROM unnest(ARRAY['a', 'b', 'c']) source,"
            " unnest(ARRAY['accepted', 'rejected']) counter, generate_series(1, 40) slot"
        )
        assert [(await known_after_a_look(journal))[3] for _ in range(3)] == [16, 32, 40]
        hand.execute("UPDATE ledger SET value = 2")
        hand.execute("DELETE FROM node WHERE id LIKE 'node%'")
        assert [(await known_after_a_look(journal))[6] for _ in range(3)] == [17, 33, 40], (
            "one where a node may have come and gone"
        )
        hand.execute("UPDATE ledger SET value = 3")
        assert (await known_after_a_look(journal))[9] == 1
