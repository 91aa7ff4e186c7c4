"""PostgreSQL as the journal's engine: its connections, the bounds on their patience, its faults.

Nothing waits for ever: the server ends a statement, a wait for a lock and an idle transaction; libpq
ends an attempt to connect and, where the system can, a wait for a peer's acknowledgement; and the
watchdog cuts a link that takes everything and gives nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from relay.errors import JournalRefused, JournalUnreadable
from relay.journal.engine import error_text
from relay.journal.faults import Fault
from relay.journal.postgres.lease import RowLease, living, server_time
from relay.journal.postgres.long_transactions import oldest_transactions
from relay.journal.postgres.refusal import ask_for_locks, forbidden, holders
from relay.journal.postgres.size import bytes_in_use, bytes_on_disk
from relay.journal.values import Pin
from relay.journal.writer.watchdog import Watchdog
from relay.lease_times import Times

T = TypeVar("T")

PATIENCE = 8.0
"""Seconds for a whole transaction; senders are told 503 by the timer of their own append, before that."""

READERS_PATIENCE = 40.0
"""Seconds for a reader's, who holds nobody up; a statement of it may take 30."""

_TRIES = 5
"""How often a transaction is tried that another one stood in the way of."""

_IN_THE_WAY = frozenset({"40P01", "40001"})  # deadlock, serialization
LOCKED = "55P03"
"""The state of a statement that waited for a lock for too long."""

_ROWS_FAULT = ("22", "23", "54")  # classes: data, integrity, a limit such as that of an index's row

_EVERY_ROWS_FAULT = ("08", "25", "28", "40", "53", "55", "57", "58")
"""Classes of errors that meet whatever is written: link, transaction, resources, locks, operator, disk."""

_SERVER = sa.text(
    "SELECT system_identifier || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
    " FROM pg_control_system()"
)

_WRITER = {
    "default_transaction_isolation": "read\\ committed",
    "lock_timeout": "2s",
    "statement_timeout": "6s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",  # what is acknowledged is on disk, whatever else the database is used for
}
_READER = {
    "default_transaction_isolation": "repeatable\\ read",
    "default_transaction_read_only": "on",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
}
_LINK = {
    "connect_timeout": "3",
    "tcp_user_timeout": "8000",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "application_name": "relay",
}


class Address:
    """Where a journal on PostgreSQL is, as its URL says it."""

    def __init__(self, url: str) -> None:
        plain = url.replace("postgresql+psycopg:", "postgresql:", 1)
        try:
            self._given = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
        except psycopg.Error as error:
            raise _no_url() from error  # what libpq says may quote the password
        if _holds_a_secret(self._given):
            raise _no_url()

    def __str__(self) -> str:
        where = self._given.get("host", "") + (f":{port}" if (port := self._given.get("port")) else "")
        return f"postgresql://{where}/{self._given.get('dbname', '')}"

    def connect(self, session: Mapping[str, str]) -> psycopg.Connection[Any]:
        """A connection with these settings; what the URL says itself comes last and is stronger."""
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        mine = {"options": f"{options} {self._given.get('options', '')}".strip()}
        return psycopg.connect(**(_LINK | self._given | mine))  # type: ignore[arg-type]


def _no_url() -> JournalRefused:
    return JournalRefused(
        "RELAY_JOURNAL is no URL of a PostgreSQL database: write"
        " postgresql://USER:PASSWORD@HOST/DATABASE, with special characters percent-encoded"
    )


def _holds_a_secret(given: Mapping[str, str]) -> bool:
    """Whether a password with a bare `/`, `@` or `:` has come to stand in a part that is shown and logged.

    A host that begins with `@` is a socket without a name.
    """
    ports = given.get("port", "").split(",")
    where = given.get("host", "").removeprefix("@") + given.get("dbname", "")
    return "@" in where or any(port and not port.isdecimal() for port in ports)


def make_engine(connect: Callable[[], psycopg.Connection[Any]]) -> sa.Engine:
    """An engine whose statements take their values by position, as the hot ones give them."""
    return sa.create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=sa.pool.NullPool,
        pool_reset_on_return=None,  # what is given back is closed, which ends its transaction
        paramstyle="format",
        use_native_hstore=False,
    )


def sqlstate(error: BaseException) -> str:
    """The five characters by which PostgreSQL names an error; none for one of the link."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def fault_of(error: BaseException) -> Fault:
    """Whose fault an error is that came of a write to a database."""
    state, cause = sqlstate(error), getattr(error, "orig", None) or error
    if state.startswith(_ROWS_FAULT):
        return Fault.ROW
    if state == LOCKED:
        return Fault.BUSY
    if state:
        return Fault.OUTAGE if state.startswith(_EVERY_ROWS_FAULT) else Fault.STATEMENT
    if isinstance(cause, psycopg.DataError | OverflowError | UnicodeEncodeError):
        return Fault.ROW  # the driver has no form for such a value
    if isinstance(cause, psycopg.ProgrammingError | psycopg.NotSupportedError):
        return Fault.OURS  # the driver does not understand what it was asked for
    return Fault.OUTAGE if isinstance(cause, psycopg.Error | OSError | MemoryError) else Fault.OURS


def is_rows_fault(error: BaseException) -> bool:
    """Whether the server, or the driver before it, refuses a row and would refuse it again."""
    return fault_of(error) is Fault.ROW


def cut_off(connection: psycopg.Connection[Any] | None) -> None:
    """Shut a connection's socket under whoever waits for it: the wait ends with an error."""
    with contextlib.suppress(OSError, psycopg.Error):
        if connection is not None and not connection.closed:
            with socket.socket(fileno=os.dup(connection.fileno())) as link:
                link.shutdown(socket.SHUT_RDWR)


class PostgresEngine:
    """One writer's connection to a journal on PostgreSQL, made anew after a fault."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._raw: psycopg.Connection[Any] | None = None
        self._engine = make_engine(self._connect)
        self._connection: sa.Connection | None = None
        self._connections = 0
        self._watchdog = Watchdog(PATIENCE)

    @property
    def dialect(self) -> sa.Dialect:
        """What statements are compiled for."""
        return self._engine.dialect

    @property
    def folder(self) -> Path | None:
        """None: the journal's room is the server's, who says when there is none."""
        return None

    @property
    def locks(self) -> Sequence[Path]:
        """None: the server has them."""
        return ()

    def now(self, connection: sa.Connection) -> float | None:
        """The server's clock."""
        return server_time(connection)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do the work in one transaction; again, where another one stood in its way."""
        tries = 0
        while True:
            try:
                with self._watchdog.over(self._cut):
                    return self._once(work)
            except (sa.exc.DBAPIError, psycopg.Error) as error:
                tries += 1
                if sqlstate(error) not in _IN_THE_WAY or tries == _TRIES:
                    raise
                time.sleep(0.005 * tries)

    def write_slowly(self, work: Callable[[sa.Connection], T], *, lock_timeout: str) -> T:
        """The same for a migration or a copy, which may take its time, but not for a lock."""

        def unbounded(connection: sa.Connection) -> T:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{lock_timeout}'")
            return work(connection)

        return self._once(unbounded)

    def _once(self, work: Callable[[sa.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
        with self._connection.begin():
            return work(self._connection)

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return self._connections

    def server_of(self, connection: sa.Connection) -> str | None:
        """The server's identity and its timeline, which another server, or one put back, has not."""
        try:
            with connection.begin_nested():
                return str(connection.scalar(_SERVER))
        except sa.exc.DBAPIError as error:
            if fault_of(error).concerns_all:
                raise
            return None

    def _connect(self) -> psycopg.Connection[Any]:
        self._connections += 1
        self._raw = self.address.connect(_WRITER)
        return self._raw

    def _cut(self) -> None:
        cut_off(self._raw)

    def wrote(self, size: int) -> None:
        """The server looks after itself."""

    def mark(self, *, now: bool = False) -> None:
        """No mark: the journal is not a file that somebody could move away from beside it."""

    def fault_of(self, error: Exception) -> Fault:
        """By the state that the server names; without one, by who raised it."""
        return fault_of(error)

    def no_room(self) -> str | None:
        """None: a server whose disk is full says so itself."""
        return None

    def size(self, connection: sa.Connection) -> int:
        """Bytes in use, estimated; the files never shrink."""
        return bytes_in_use(connection)

    def lease(self, node: str | None, times: Times) -> RowLease:
        """The life of a node: a row that it renews."""
        return RowLease(node, times)

    def discard(self) -> None:
        """Throw the connection away, without a word to a server that may not answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError, psycopg.Error, OSError):
                connection.invalidate()
            with contextlib.suppress(sa.exc.SQLAlchemyError, psycopg.Error, OSError):
                connection.close()

    def close(self) -> None:
        """Let go."""
        self.abandon()

    def abandon(self) -> None:
        """Let go."""
        self.discard()
        self._engine.dispose()
        self._watchdog.end()


class PostgresView:
    """A journal on PostgreSQL to read: short transactions that can write nothing."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # No pool: whether a connection that lay about is any good is told by no clock.
        self._engine = make_engine(self._connect)
        self._watchdog = Watchdog(READERS_PATIENCE)
        self._here = threading.local()

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self._address.connect(_READER)
        self._here.made.append(connection)
        return connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One snapshot."""
        made: list[psycopg.Connection[Any]] = []
        self._here.made = made

        def cut() -> None:
            for connection in made:
                cut_off(connection)

        try:
            with self._watchdog.over(cut), self._engine.connect() as connection:
                yield connection
        except (sa.exc.DBAPIError, psycopg.Error, UnicodeError) as error:
            raise JournalUnreadable(
                f"the journal {self._address} cannot be read: {error_text(error)}"
            ) from error

    def alive(self, connection: sa.Connection) -> set[str]:
        """Which nodes have renewed their row lately."""
        return living(connection)

    def now(self, connection: sa.Connection) -> float:
        """The server's clock."""
        return server_time(connection)

    def bytes(self, connection: sa.Connection) -> int:
        """Tables and indexes."""
        return bytes_on_disk(connection)

    def pinned(self) -> Pin | None:
        """By the oldest transaction."""
        with self.reading() as connection:
            oldest = next(iter(oldest_transactions(connection)), None)
        if oldest is None:
            return None
        return Pin(
            by=oldest.who,
            does=f"is in a transaction for {oldest.seconds:.0f} s, {oldest.state}; no row that died since"
            " then can be removed",
            seconds=oldest.seconds,
        )

    def refusal(self) -> str | None:
        """Why it takes no event: nobody may write, or somebody holds a lock."""
        with self.reading() as connection:
            reason = forbidden(connection)
        if reason is not None:
            return reason
        try:
            with self.reading() as connection:
                ask_for_locks(connection)
        except JournalUnreadable as error:
            if error.__cause__ is None or sqlstate(error.__cause__) != LOCKED:
                return str(error)
            with self.reading() as connection:
                return holders(connection)
        return None

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()
        self._watchdog.end()
