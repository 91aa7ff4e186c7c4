"""Opening a journal on PostgreSQL: made in an empty database, upgraded by one node at a time."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal import schema, tables
from relay.journal.engine import words_of
from relay.journal.postgres import Address, PostgresEngine, PostgresView

_ONE_AT_A_TIME = 0x72656C6179  # "relay"
"""The advisory lock of whoever makes or upgrades the tables."""

_FAULTS = (sa.exc.SQLAlchemyError, psycopg.Error, OSError, tables.NoJournal)


def open_database(url: str, *, create: bool) -> PostgresEngine:
    """The engine of a journal whose tables are up to date."""
    address = Address(url)
    engine = PostgresEngine(address)
    try:
        if not (engine.write(_is_there) and engine.write(tables.are_current)):
            _make(engine, create=create)
        tables.refuse_newer(address, engine.write(tables.read_facts))
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
    except tables.NoJournal as error:
        view.close()
        raise _unusable(address, error) from error
    except BaseException:
        view.close()
        raise
    return view


def _check(connection: sa.Connection, address: Address) -> None:
    """Refuse what is no journal, or one that this program may not read as it is."""
    if not _is_there(connection):
        raise _missing(address)
    facts = tables.read_facts(connection)
    tables.refuse_newer(address, facts)
    if int(facts["version"]) < schema.VERSION:
        raise tables.too_old(address)


def _make(engine: PostgresEngine, *, create: bool) -> None:
    if not create:
        raise tables.too_old(engine.address) if engine.write(_is_there) else _missing(engine.address)

    def upgrade(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})")
        if not (_is_there(connection) and tables.are_current(connection)):
            if _is_there(connection):
                tables.refuse_newer(engine.address, tables.read_facts(connection))
            tables.upgrade(connection)

    engine.write_slowly(upgrade)


def _is_there(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(schema.meta.name)


def _missing(address: Address) -> JournalRefused:
    return JournalRefused(f"no journal at {address}: start `relay serve` there, or set RELAY_JOURNAL")


def _unusable(address: Address, error: Exception) -> JournalRefused:
    return JournalRefused(f"the journal {address} cannot be opened: {words_of(error)}")
