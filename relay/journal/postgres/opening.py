"""Opening a journal on PostgreSQL; and `relay journal upgrade`, which alone makes and changes its tables.

A service makes none: a database that is empty may be the wrong one, or one that was lost. Nor does it
upgrade one, since older nodes may be at work beside it.
"""

from __future__ import annotations

import time

import psycopg
import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal.engine import error_text
from relay.journal.postgres.engine import LOCKED, Address, PostgresEngine, PostgresView, sqlstate
from relay.journal.postgres.indexes import make_indexes
from relay.journal.postgres.lease import living
from relay.journal.tables import schema, versioning

_ONE_AT_A_TIME = 0x72656C6179  # "relay"
"""The advisory lock of whoever makes or upgrades the tables."""

LOCKS_WITHIN = 60.0
"""Seconds for which an upgrade asks for its locks, again and again."""

_LOCK_TIMEOUT = "2s"
"""How long one asking may take: while it waits for a table, all others wait behind it."""

_PAUSE = 1.0

_FAULTS = (sa.exc.SQLAlchemyError, psycopg.Error, OSError, versioning.NoJournal)


def open_database(url: str) -> PostgresEngine:
    """The engine of a journal whose tables are up to date; it is never made or upgraded here."""
    address = Address(url)
    engine = PostgresEngine(address)
    try:
        engine.write(lambda connection: _check(connection, address))
        versioning.refuse_moved(address, engine.write(versioning.read_facts))
    except JournalRefused:
        engine.abandon()
        raise
    except _FAULTS as error:
        engine.abandon()
        raise _unusable(address, error) from error
    return engine


def view_database(url: str) -> PostgresView:
    """The view of a journal that may be read."""
    address = Address(url)
    view = PostgresView(address)
    try:
        with view.reading() as connection:
            _check(connection, address)
    except versioning.NoJournal as error:
        view.close()
        raise _unusable(address, error) from error
    except BaseException:
        view.close()
        raise
    return view


def upgrade_database(url: str, *, locks_within: float = LOCKS_WITHIN) -> tuple[int | None, int]:
    """Make the tables in an empty database, or bring them up to date; the version before, and now.

    Any number may ask for it at once, beside nodes at work: one does it, the others find it done.
    """
    address = Address(url)
    engine = PostgresEngine(address)
    deadline = time.monotonic() + locks_within
    try:
        while True:
            try:
                done = engine.write_slowly(_upgrade, lock_timeout=_LOCK_TIMEOUT)
            except sa.exc.OperationalError as error:
                if sqlstate(error) != LOCKED:
                    raise
                done = None
            if done is not None:
                make_indexes(address)
                return done
            if time.monotonic() > deadline:
                raise JournalRefused(
                    f"the tables of {address} are locked by somebody else for over {locks_within:g} s."
                    " Nothing was changed; `relay doctor` names the oldest transaction: end it, and try again"
                )
            time.sleep(_PAUSE)
    except _FAULTS as error:
        raise _unusable(address, error) from error
    finally:
        engine.abandon()


def _upgrade(connection: sa.Connection) -> tuple[int | None, int] | None:
    """None where somebody else is at it."""
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_ONE_AT_A_TIME})").scalar():
        return None
    before: int | None = None
    if _is_there(connection):
        facts = versioning.read_facts(connection)
        versioning.refuse_newer("the journal", facts)
        before = int(facts["version"])
        if versioning.are_current(connection):
            return before, before
        columns = {column["name"] for column in sa.inspect(connection).get_columns(schema.node.name)}
        alive = living(connection) if schema.node.c.beat_at.name in columns else set()
        versioning.refuse_beside_older(connection, alive)
    versioning.upgrade(connection)
    return before, schema.VERSION


def _check(connection: sa.Connection, address: Address) -> None:
    """Refuse what is no journal, or one that this program may not use as it is."""
    if not _is_there(connection):
        raise _missing(address)
    facts = versioning.read_facts(connection)
    versioning.refuse_newer(address, facts)
    if int(facts["version"]) < schema.VERSION:
        raise versioning.too_old(address)


def _is_there(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(schema.meta.name)


def _missing(address: Address) -> JournalRefused:
    return JournalRefused(
        f"no journal at {address}: if this is the right database, and nothing is missing from it, run"
        " `relay journal upgrade` to make one in it; else set RELAY_JOURNAL"
    )


def _unusable(address: Address, error: Exception) -> JournalRefused:
    return JournalRefused(f"the journal {address} cannot be opened: {error_text(error)}")
