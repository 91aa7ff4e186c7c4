"""Copying an SQLite journal into PostgreSQL row for row, each batch committed with how far it has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from relay.errors import JournalRefused, JournalUnavailable
from relay.journal.copy import progress
from relay.journal.copy.progress import Copied, Place, Told
from relay.journal.engine import error_text
from relay.journal.postgres.engine import Address, PostgresEngine, is_rows_fault
from relay.journal.postgres.opening import upgrade_database
from relay.journal.reads.ledger import read_ledger
from relay.journal.sqlite.engine import last_seqs, make_engine
from relay.journal.sqlite.opening import check
from relay.journal.sqlite.view import SqliteView
from relay.journal.tables import schema, versioning
from relay.journal.tables.rows import from_wire, to_wire
from relay.model import indexed

ROWS = 1000
BYTES = 4 << 20
"""A batch ends with this many rows or bytes, whatever comes first."""

_LOCK_TIMEOUT = "10s"
"""How long a batch waits for a lock, in a database where nobody else should be."""

_FAULTS = (sa.exc.SQLAlchemyError, psycopg.Error, sqlite3.Error, OSError)

_Row = tuple[Any, ...]


def copy_file(path: Path, target: str, told: Told) -> Copied | None:
    """See `copy`."""
    version = check(path)
    if version < schema.VERSION:
        raise versioning.too_old(path)
    facts = _facts(path)
    if {version, upgrade_database(target)[1]} != {schema.VERSION}:
        raise JournalRefused(
            "one of the journals is of a newer Relay: copy with that one, which knows all of it"
        )
    address = Address(target)
    engine = PostgresEngine(address)
    try:
        copy = progress.given_up(facts, str(address))
        if copy is not None and engine.write(versioning.read_facts).get(progress.COPIED) == copy:
            return None
        copy = copy or progress.new_copy()
        accept = partial(progress.accept, name=str(address), copy=copy, facts=facts)
        place = engine.write(accept)
        progress.give_up(path, str(address), copy)
        return _Copying(path, engine, copy=copy, place=place, told=told).run()
    except _FAULTS as error:
        raise JournalUnavailable(
            f"the copy stopped: {error_text(error)}. Run the same command again: it goes on where it was"
        ) from error
    finally:
        engine.abandon()


def _facts(path: Path) -> dict[str, str]:
    """What the old journal says of itself; refused while it is served, before the new one is touched."""
    view = SqliteView(path)
    try:
        with view.reading() as connection:
            progress.refuse_served(connection, path)
            return versioning.read_facts(connection)
    finally:
        view.close()


class _Copying:
    """One run of a copy."""

    def __init__(
        self, path: Path, engine: PostgresEngine, *, copy: str, place: Place | None, told: Told
    ) -> None:
        self._path = path
        self._engine = engine
        self._copy = copy
        self._place = place
        self._told = told
        self._skipped = 0 if place is None else place.skipped

    def run(self) -> Copied:
        """Copy what is not there yet, compare, and make the new journal one to serve if all is well."""
        reader = make_engine(self._path, readonly=True)
        try:
            with reader.connect() as old:
                for table in self._left():
                    self._table(old, table)
                copied = self._engine.write_slowly(partial(self._compare, old), lock_timeout=_LOCK_TIMEOUT)
        finally:
            reader.dispose()
        if copied.same:
            self._engine.write_slowly(partial(progress.finish, copy=self._copy), lock_timeout=_LOCK_TIMEOUT)
        return copied

    def _left(self) -> list[sa.Table]:
        found = progress.copied_tables()
        if self._place is None:
            return found
        return found[[table.name for table in found].index(self._place.table) :]

    def _table(self, old: sa.Connection, table: sa.Table) -> None:
        place = self._place
        after = place.after if place is not None and place.table == table.name else None
        total = _count(old, table)
        done = self._engine.write_slowly(partial(_count, table=table), lock_timeout=_LOCK_TIMEOUT)
        self._told(table.name, done, total)
        for batch in _batches(old, table, after):
            skipped = self._batch(table, batch)
            done += len(batch) - skipped
            self._told(table.name, done, total)

    def _batch(self, table: sa.Table, rows: list[_Row]) -> int:
        """Write a batch; where a row is refused, again one by one. How many were left out."""
        key = tuple(rows[-1][list(table.columns).index(column)] for column in table.primary_key)
        taken = _indexed(rows) if table is schema.dedup else rows

        def write(connection: sa.Connection, how: Callable[..., int]) -> int:
            left_out = how(connection, table, taken)
            place = Place(table=table.name, after=key, skipped=self._skipped + left_out)
            progress.note(connection, self._copy, place)
            return left_out

        try:
            left_out = self._engine.write_slowly(partial(write, how=_all), lock_timeout=_LOCK_TIMEOUT)
        except (psycopg.Error, sa.exc.DBAPIError) as error:
            if not is_rows_fault(error):
                raise
            left_out = self._engine.write_slowly(partial(write, how=_each), lock_timeout=_LOCK_TIMEOUT)
        self._skipped += left_out
        return left_out

    def _compare(self, old: sa.Connection, new: sa.Connection) -> Copied:
        _set_numbers(old, new)
        found = progress.copied_tables()
        for table in found:
            new.exec_driver_sql(f"ANALYZE {table.name}")
        return Copied(
            rows={table.name: (_count(old, table), _count(new, table)) for table in found},
            skipped=self._skipped,
            before=read_ledger(old, now=None, destinations=None),
            after=read_ledger(new, now=None, destinations=None),
        )


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _batches(old: sa.Connection, table: sa.Table, after: _Row | None) -> Iterator[list[_Row]]:
    """A table's rows in the order of their key, as the driver has them."""
    key = [column.name for column in table.primary_key]
    where = f"WHERE ({', '.join(key)}) > ({', '.join('?' * len(key))})" if after is not None else ""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    statement = f'SELECT {names} FROM "{table.name}" {where} ORDER BY {", ".join(key)}'  # noqa: S608 - own names
    result = old.exec_driver_sql(statement, after or ())
    wire = [isinstance(column.type, sa.LargeBinary) for column in table.columns]
    batch: list[_Row] = []
    size = 0
    for found in result:
        # SQLite stores what it is given: text that stands where bytes should is meant as its bytes.
        row = tuple(
            value.encode("utf-8", "surrogatepass") if is_wire and isinstance(value, str) else value
            for is_wire, value in zip(wire, found, strict=True)
        )
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes | str))
        if len(batch) >= ROWS or size >= BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _indexed(rows: list[_Row]) -> list[_Row]:
    """Dedup rows with their keys as an index takes them: earlier programs stored keys of any length."""
    at = list(schema.dedup.columns).index(schema.dedup.c.key)
    return [(*row[:at], to_wire(indexed(from_wire(row[at]))), *row[at + 1 :]) for row in rows]


def _all(connection: sa.Connection, table: sa.Table, rows: list[_Row]) -> int:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(f"{driver!r} is no connection of psycopg's")
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
    )
    with driver.cursor() as cursor, cursor.copy(statement) as stream:
        for row in rows:
            stream.write_row(row)
    return 0


def _each(connection: sa.Connection, table: sa.Table, rows: list[_Row]) -> int:
    """One by one: a dedup key that is there, as the hash of a longer one, is left out, nothing else."""
    left_out = 0
    for row in rows:
        try:
            with connection.begin_nested():
                _all(connection, table, [row])
        except (psycopg.Error, sa.exc.DBAPIError) as error:
            if not is_rows_fault(error):
                raise
            if table.name != schema.dedup.name:
                key = ", ".join(
                    f"{column.name} {value!r}"
                    for column, value in zip(table.columns, row, strict=True)
                    if column.primary_key or column.name == "id"
                )
                raise JournalRefused(
                    f"PostgreSQL refuses a row of {table.name} ({key}): {error_text(error)}. All before it is"
                    " copied; mend or remove that row in the old journal and run the same command again"
                ) from error
            left_out += 1
    return left_out


def _set_numbers(old: sa.Connection, new: sa.Connection) -> None:
    """Go on counting where the old journal was, also where its last rows are purged."""
    for table, last in zip((schema.event, schema.delivery), last_seqs(old), strict=True):
        if last:
            new.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'seq'), {int(last)})")
