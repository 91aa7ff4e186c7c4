"""A shared journal is made and upgraded by `relay journal upgrade` alone, beside whoever is at work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from relay.errors import JournalRefused
from relay.journal import Reader, upgrade
from relay.journal.postgres.engine import Address, make_engine
from relay.journal.postgres.opening import upgrade_database
from relay.journal.tables import schema, versioning
from tests.journal.making import NOW, StillClock, by_hand, make_entry, make_settlement, only, opened
from tests.support.databases import Databases


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    """A database with nothing in it."""
    with databases.one(empty=True) as url:
        yield url


@pytest.fixture
def first(empty: str) -> str:
    """A journal with the first tables, an event and a delivery that waits in it."""
    config = Config()
    config.set_main_option("script_location", "relay:journal/migrations")
    made = make_engine(lambda: Address(empty).connect({}))
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for key, value in {"id": "first", "version": "1", "oldest": "1", "probed_at": "0"}.items():
            connection.execute(sa.insert(schema.meta).values(key=key, value=value))
        connection.exec_driver_sql(
            "INSERT INTO event (id, source, received_at, method, path, query, state, planned, headers, body)"
            rf" VALUES ('evt_1', 'github', {NOW}, '', '', '', 'routed', 1, '\x00000000', '{{}}')"
        )
        connection.exec_driver_sql(
            "INSERT INTO delivery (id, event_id, source, route, destination, key, state, attempts, finished,"
            " due_at, fence, owners_lost, transform, created_at, age_from) VALUES ('dlv_1', 'evt_1',"
            f" 'github', 'all', 'billing', 'dlv_1', 'pending', 0, 0, {NOW}, 0, 0, false, {NOW}, {NOW})"
        )
        connection.exec_driver_sql(
            "INSERT INTO ledger (source, destination, counter, value, at) VALUES"
            f" ('github', '', 'accepted', 1, {NOW}), ('github', 'billing', 'planned', 1, {NOW})"
        )
    return empty


def test_an_empty_database_is_made_a_journal_once(empty: str) -> None:
    """However many machines ask at once, one does it and the others find it done."""
    found: list[tuple[int | None, int]] = []
    asking = [threading.Thread(target=lambda: found.append(upgrade(empty))) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(found, key=str) == [(3, 3), (3, 3), (3, 3), (None, 3)]
    with by_hand(empty) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE key = 'id'").fetchall() == [(1,)]


async def test_an_older_journal_goes_on_with_what_waits_in_it(first: str, clock: StillClock) -> None:
    """Who serves is told what to run first; then nothing is lost."""
    with pytest.raises(JournalRefused, match="`relay journal upgrade`"), opened(first):
        pass
    assert upgrade(first) == (1, schema.VERSION)
    with opened(first, clock=clock) as journal, Reader.open(first) as reader:
        clock.at = NOW
        (claim,) = await journal.claim("billing", 9)
        assert (await journal.settle(make_settlement(claim.delivery))).done
        assert reader.ledger().balanced


def test_what_an_older_node_still_needs_is_not_taken_from_it(first: str) -> None:
    """It is named, nothing is changed, and once it is gone the upgrade is made."""
    with by_hand(first) as connection:
        connection.execute("ALTER TABLE node ADD COLUMN beat_at float8")
        connection.execute(
            "INSERT INTO node (id, started_at, version, host, pid, beat_at)"
            " VALUES ('old', 0, '0.0.9', 'elsewhere', 77, extract(epoch FROM clock_timestamp()))"
        )
        with pytest.raises(JournalRefused, match=r"elsewhere \(process 77, relay 0\.0\.9\).*Nothing was"):
            upgrade(first)
        assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() == ("1",)
        connection.execute("DELETE FROM node")
        connection.execute("ALTER TABLE node DROP COLUMN beat_at")
    assert upgrade(first) == (1, schema.VERSION)


def test_an_upgrade_does_not_queue_before_a_table_that_somebody_holds(first: str) -> None:
    """All others would wait behind it; it gives up, says why, and has changed nothing."""
    with by_hand(first) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM delivery")
        with pytest.raises(JournalRefused, match="locked by somebody else"):
            upgrade_database(first, locks_within=0.0)
        other.execute("ROLLBACK")
    assert upgrade(first) == (1, schema.VERSION)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_a_newer_journal_is_used_as_long_as_it_lets_older_programs(engine: str) -> None:
    """Tables that were only added to are no matter; a raised mark of the oldest program is a refusal."""
    if engine.startswith("postgresql"):
        upgrade(engine)
    with opened(engine):
        pass
    with by_hand(engine) as other:
        other.execute("ALTER TABLE delivery ADD COLUMN newer int")
        other.execute("CREATE TABLE newest (id int)")
        other.execute("UPDATE meta SET value = '9' WHERE key = 'version'")
        other.execute("UPDATE alembic_version SET version_num = '0009'")
        with opened(engine) as newer, opened(engine) as journal:
            await journal.append(make_entry("billing"))
            (claim,) = await newer.claim("billing", 1)
            assert (await newer.settle(make_settlement(claim.delivery))).done
        assert upgrade(engine)[0] == 9
        other.execute("UPDATE meta SET value = '9' WHERE key = 'oldest'")
        for attempt in (lambda: Reader.open(engine), lambda: opened(engine).__enter__()):
            with pytest.raises(JournalRefused, match="install the newer Relay"):
                attempt()


@pytest.mark.parametrize("fact", [versioning.MOVED, versioning.COPYING])
def test_a_journal_that_was_given_up_is_refused(engine: str, fact: str) -> None:
    """So is one that is not all there; both say what to do."""
    if engine.startswith("postgresql"):
        upgrade(engine)
    with opened(engine):
        pass
    with by_hand(engine) as other:
        value = json.dumps({"to": "postgresql://db/relay"})
        other.execute(f"INSERT INTO meta VALUES ('{fact}', '{value}')")
    with pytest.raises(JournalRefused, match="relay journal copy"), opened(engine):
        pass


@only("postgresql", "SQLite makes its indexes with its tables")
def test_an_index_that_was_cut_off_is_made_again(engine: str) -> None:
    """Whoever ends the making of one leaves it there, used by nobody."""
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_delivery_behind'::regclass"
    with by_hand(engine) as other:
        other.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_delivery_behind'::regclass"
        )
        assert other.execute(valid).fetchone() == (False,)
        upgrade(engine)
        assert other.execute(valid).fetchone() == (True,)
        other.execute("DROP INDEX ix_delivery_behind")
        upgrade(engine)
        assert other.execute(valid).fetchone() == (True,)
