"""What is PostgreSQL's own: its tables, its refusals, its faults, and the link to it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from relay.errors import JournalRefused, JournalUnavailable, RowRefused
from relay.journal import Entry, Journal, Reader, Receipt, upgrade
from relay.journal.postgres import engine as postgres
from relay.journal.postgres.engine import Address, PostgresEngine
from relay.journal.tables import schema
from relay.model import DeliveryState
from tests.journal.making import (
    Told,
    by_hand,
    make_entry,
    make_event,
    make_settlement,
    opened,
)
from tests.journal.test_plans import fill, watched, work
from tests.journal.test_trouble import recovery
from tests.support.databases import Databases
from tests.support.links import Link, linked


@pytest.fixture
def engine(databases: Databases) -> Iterator[str]:
    """A database with a journal that has nothing in it."""
    with databases.one() as url:
        yield url


def meant() -> sa.MetaData:
    """The tables as the program means them, with each partial index's condition for PostgreSQL too."""
    tables, dialect = sa.MetaData(), postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in schema.metadata.sorted_tables:
        for index in table.to_metadata(tables).indexes:
            where = index.dialect_options["sqlite"]["where"]
            if where is not None:
                plain = where.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
                text = str(plain).replace(f"{table.name}.", "")
                index.dialect_options["postgresql"]["where"] = sa.text(text)
            if index.name == "ix_event_provider_id":
                index.dialect_options["postgresql"]["using"] = "hash"
    return tables


def shape(connection: sa.Connection) -> set[tuple[Any, ...]]:
    """Every column and every index as the server describes them."""
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    return {tuple(row) for query in (columns, indexes) for row in connection.exec_driver_sql(query)}


def test_the_migrations_make_the_tables_that_the_program_means(engine: str, databases: Databases) -> None:
    """From nothing to the metadata, to the last partial index."""
    with databases.one(empty=True) as other:
        made, other_made = (PostgresEngine(Address(url)) for url in (engine, other))
        made.write(
            lambda connection: _same(
                compare_metadata(MigrationContext.configure(connection), schema.metadata)
            )
        )
        other_made.write(meant().create_all)
        assert made.write(shape) == other_made.write(shape)
        made.close()
        other_made.close()


def _same(differences: list[Any]) -> None:
    assert [one for one in differences if "where" not in str(one) and one[0] != "modify"] == []


async def test_no_statement_reads_all_deliveries_or_lanes(journal: Journal, engine: str) -> None:
    """Where it may choose an index, the planner finds one for each."""
    await fill(journal, 3)
    with watched(journal) as seen:
        await work(journal)
    with by_hand(engine) as connection:
        connection.execute("SET enable_seqscan = off")
        for statement, values in seen.statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}", values))
                assert "Seq Scan" not in plan, plan


def test_neither_a_service_nor_a_command_makes_a_journal(databases: Databases) -> None:
    """A database that is empty may be the wrong one, or one that was lost: they say who makes one."""
    with databases.one(empty=True) as url:
        for attempt in (lambda: Reader.open(url), lambda: opened(url).__enter__()):
            with pytest.raises(JournalRefused, match=r"no journal at postgresql://.*`relay journal upgrade`"):
                attempt()


def test_a_journal_too_new_is_refused(engine: str) -> None:
    """Its own mark of the oldest version that may use it decides."""
    with by_hand(engine) as other:
        other.execute("UPDATE meta SET value = '99' WHERE key = 'oldest'")
    with pytest.raises(JournalRefused, match="newer Relay"):
        Reader.open(engine)
    with pytest.raises(JournalRefused, match="newer Relay"), opened(engine):
        pass


def test_somebody_elses_tables_are_left_alone(databases: Databases) -> None:
    """They are no journal, whatever they are called."""
    with databases.one(empty=True) as url:
        with by_hand(url) as connection:
            connection.execute("CREATE TABLE meta (theirs int)")
        with pytest.raises(JournalRefused, match="cannot be opened"), opened(url):
            pass


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    """Whoever opens it, for whatever."""
    url = f"postgresql://me:canary@/relay?host={tmp_path}"
    with pytest.raises(JournalRefused, match="cannot be opened") as refused, opened(url):
        pass
    assert "canary" not in str(refused.value)
    with pytest.raises(JournalUnavailable, match="cannot be read"):
        Reader.open(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:canary@[h/relay",
        "postgresql://me:canary@h/relay?none=1",
        "postgresql://me:canary/x@h/relay",
        "postgresql://me:9/canary@h/relay",
        "postgresql://me:x@canary@h/relay",
        "postgresql://me:x/canary@h:5432/relay",
        "postgresql//me:canary@h/relay",
        "postgres://me:x@canary/y@h/relay",
        "Postgresql://me:canary/x@h/relay",
        "mysql://me@h/relay?password=canary",
    ],
)
def test_a_url_that_makes_no_sense_is_not_repeated(url: str) -> None:
    """Whatever of it the password has come to stand in: people forget to encode it."""
    for use in (upgrade, Reader.open, lambda url: opened(url).__enter__()):
        with pytest.raises(JournalRefused, match="postgresql://USER") as refused:
            use(url)
        assert "canary" not in str(refused.value)


async def test_a_reader_cannot_write(engine: str) -> None:
    """Whatever it tries."""
    with (
        Reader.open(engine) as reader,
        pytest.raises(JournalUnavailable, match="read-only"),
        reader._view.reading() as connection,
    ):
        connection.execute(sa.delete(schema.event))


async def test_what_an_index_cannot_hold_is_refused_alone(journal: Journal, reader: Reader) -> None:
    """A sender chooses its ids and keys: a long one is its own trouble, not everybody's."""
    long = os.urandom(20_000).hex()
    named = Entry(event=make_event(provider_id=long))
    ends = await asyncio.gather(
        journal.append(named),
        journal.append(make_entry("billing", key=long)),
        journal.append(make_entry("billing")),
        return_exceptions=True,
    )
    assert isinstance(ends[1], RowRefused)
    assert journal.available
    assert len(reader.events()) == 2
    assert reader.find_event(long) == [named.event.id]


async def test_a_row_that_no_stream_takes_is_refused_alone(journal: Journal, reader: Reader) -> None:
    """Text with a NUL, or that is no Unicode, is refused before the server sees it; the others are stored."""
    nul, lone, good = (Entry(event=make_event(remote=remote)) for remote in ("\0", "\udc80", "::1"))
    ends = await asyncio.gather(*(journal.append(one) for one in (nul, lone, good)), return_exceptions=True)
    assert [type(end) for end in ends] == [RowRefused, RowRefused, Receipt]
    assert journal.available
    assert [line.id for line in reader.events()] == [good.event.id]


def test_transactions_in_each_others_way_are_done_again(engine: str) -> None:
    """Two that take two rows in opposite orders both succeed."""
    both_hold = threading.Barrier(2)
    done = []

    def count(keys: tuple[str, str]) -> None:
        first = True
        writer = PostgresEngine(Address(engine))

        def take(connection: sa.Connection) -> None:
            nonlocal first
            for key in keys:
                connection.execute(sa.update(schema.meta).where(schema.meta.c.key == key).values(value="0"))
                if first:
                    first = False
                    both_hold.wait()

        writer.write(take)
        done.append(keys)
        writer.close()

    orders = (("probed_at", "reload"), ("reload", "probed_at"))
    threads = [threading.Thread(target=count, args=(keys,)) for keys in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(orders)


async def test_a_server_that_restarts_is_an_outage_that_ends_by_itself(
    journal: Journal, reader: Reader, engine: str, hooks: Told
) -> None:
    """What was reached meanwhile is kept; a new connection goes on, for the reader too."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    with by_hand(engine) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert (await journal.settle(make_settlement(entry.deliveries[0]))).done
    await recovery(journal)
    await journal.append(make_entry("billing"))
    assert (len(hooks.troubles), hooks.recoveries) == (1, 1)
    assert len(reader.events()) == 2


@pytest.fixture
def link(engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Link, str]]:
    """A link to the database, and the URL by way of it; who uses it loses patience after a second."""
    monkeypatch.setattr(postgres, "PATIENCE", 1.0)
    with linked(engine) as link:
        yield link


async def test_a_link_that_swallows_everything_hangs_nobody(link: tuple[Link, str]) -> None:
    """Senders hear no in time, the connection is cut, and when the link is back all goes on."""
    way, url = link
    with opened(url, append_timeout=0.3) as journal, Reader.open(url) as reader:
        entry = make_entry("billing", owner=journal.node)
        await journal.append(entry)
        way.silent = True
        async with asyncio.timeout(4):
            with pytest.raises(JournalUnavailable):
                await journal.append(make_entry("billing"))
        settling = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
        await asyncio.sleep(1)
        way.silent = False
        async with asyncio.timeout(20):
            assert (await settling).done
        await recovery(journal)
        await journal.append(make_entry("billing"))
        assert len(reader.events()) == 2


async def insist(journal: Journal, entry: Entry) -> Receipt:
    """Send it again and again, as a sender does who hears 503."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await journal.append(entry)
            except JournalUnavailable:
                await asyncio.sleep(0.05)


async def test_a_commit_whose_answer_is_lost_is_made_sure_of(link: tuple[Link, str]) -> None:
    """A sender who comes again hears that it is there; what it owns is released; an end is one end."""
    way, url = link
    with opened(url, append_timeout=0.3) as journal:
        first = make_entry("billing", owner=journal.node)
        await journal.append(first)
        way.lose_ends = True
        kept = make_entry("billing", owner=journal.node, key="once")
        with pytest.raises(JournalUnavailable):
            await journal.append(kept)
        way.lose_ends = False
        again = await insist(journal, make_entry("billing", owner=journal.node, key="once"))
        assert (again.kind, again.event_id) == ("duplicate", kept.event.id)
        way.lose_ends = True
        settling = asyncio.create_task(journal.settle(make_settlement(first.deliveries[0])))
        await asyncio.sleep(1)
        way.lose_ends = False
        assert (await settling).done
        journal._clock.at += 10  # type: ignore[attr-defined]
        (released,) = await journal.rescue()
        assert released.delivery_id == kept.deliveries[0].id
        with Reader.open(url) as reader:
            assert [one.state for one in reader.deliveries_of(first.event.id)] == [DeliveryState.DELIVERED]
            assert len(reader.attempts_of(first.deliveries[0].id)) == 1
            assert reader.ledger().balanced
