"""SQLite as the journal's engine: its settings, its lock, its checkpoints, its mark.

Every commit and every checkpoint happens under one file lock. SQLite up to 3.51.2 can lose commits
when one connection checkpoints while another commits (sqlite.org/wal.html, "walresetbug"); under one
lock that cannot happen, with any version. For the same reason nobody here opens `relay.db` or its
`-shm` but SQLite: closing such a descriptor would drop SQLite's own POSIX locks.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from relay.journal.engine import error_text
from relay.journal.faults import Fault
from relay.journal.sqlite import file_in_use
from relay.journal.sqlite.faults import fault_of
from relay.journal.sqlite.high_water_mark import Mark
from relay.journal.sqlite.lease import FileLease, living, time_of
from relay.journal.sqlite.locks import (
    RESERVE,
    FileLock,
    Identity,
    LockTimeout,
    beside,
    free_bytes,
    identity_of,
)
from relay.journal.sqlite.long_readers import foreign_writer, size_of_log
from relay.journal.sqlite.open_files import Misplaced, OpenFiles
from relay.lease_times import Times

T = TypeVar("T")

_log = logging.getLogger("relay.journal")

BUSY_TIMEOUT = 2.0
"""Seconds that a foreign writer is waited for; with the fail after it a sender hears 503 in under 5 s."""

CHECKPOINT_AT = 6 * 1024 * 1024
"""Bytes of log after which it is copied into the file."""

_LOG_KEPT = 2 * CHECKPOINT_AT
"""Bytes of the log file that are kept to be written again; what a large batch took beyond is given back."""

_FRAME = 4096 + 24
"""Bytes of a page in the log, and of the header before it."""

_COMMIT_FRAMES = 12
"""Pages that a commit writes beside its rows: a first guess, which each checkpoint corrects."""

_SECOND = 1.0


def make_engine(path: Path, *, readonly: bool) -> sa.Engine:
    """An engine on the file; reading never creates it, and a writer begins by taking the write lock."""
    mode = "ro" if readonly else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            if not readonly:
                _settle_in(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    pool = sa.pool.QueuePool if readonly else sa.pool.NullPool
    engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=pool)
    begin = "BEGIN" if readonly else "BEGIN IMMEDIATE"

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _settle_in(connection: sqlite3.Connection) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # NORMAL loses acknowledged events at power loss
        "wal_autocheckpoint=0",
        f"journal_size_limit={_LOG_KEPT}",
        "temp_store=MEMORY",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    """Past SQLAlchemy, which would begin a transaction: no checkpoint may run inside one."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"{driver!r} is no SQLite connection")
    return driver


def last_seqs(connection: sa.Connection) -> tuple[int, int]:
    """The last numbers given to an event and to a delivery, also where these are purged."""
    numbers = dict(_driver(connection).execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    return numbers.get("event", 0), numbers.get("delivery", 0)


class SqliteEngine:
    """One writer's connection to an SQLite journal; all but the constructor in the writer's thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(beside(path, ".lock"), patience=BUSY_TIMEOUT)
        self._engine = make_engine(path, readonly=False)
        self._files = OpenFiles(path)
        self._reason: str | None = None
        self._connection: sa.Connection | None = None
        self._connections = 0
        self._suspect_log = False
        self._log_size = 0.0
        self._log_at_checkpoint = 0
        self._frames_per_guess = 1.0
        self._journal_id = ""
        self._marked_at = 0.0
        self._marked: Mark | None = None
        self._marked_file: Identity | None = None
        self._looked_at = -_SECOND
        self._misplaced: str | None = None
        self._free: int | None = None

    @property
    def folder(self) -> Path | None:
        """Where the file is."""
        return self.path.parent

    @property
    def locks(self) -> Sequence[Path]:
        """The file that is locked around each batch, and that of the one who comes next."""
        return beside(self.path, ".lock"), beside(self.path, ".lock.next")

    def now(self, connection: sa.Connection) -> float | None:
        """The time of those who serve it, which the wall clock no longer sets; None where nobody does."""
        return time_of(connection, self.path)

    @property
    def dialect(self) -> sa.Dialect:
        """What statements are compiled for."""
        return self._engine.dialect

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return self._connections

    def server_of(self, connection: sa.Connection) -> str | None:  # noqa: ARG002 - see Engine
        """None: a file has no server."""
        return None

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do the work in one transaction, committed and on disk when this returns.

        Nothing is written into a file that is not at its path, since others may use the one that is; and
        nothing counts as written that went into one.
        """
        try:
            with self.lock.held():
                connection = self._connected()
                if not self._files.are_there():
                    self._require_files()
                with connection.begin():
                    self._files.note_others()
                    result = work(connection)
                self._log_size += _FRAME * _COMMIT_FRAMES
                if not self._files.hold_what_was_written():
                    self._require_files()
                self._reason = None
                return result
        except (LockTimeout, Misplaced):
            raise
        except sa.exc.OperationalError as error:
            if fault_of(error) is Fault.BUSY and (writer := foreign_writer(self.path)) is not None:
                raise LockTimeout(f"{error_text(error)} for over {BUSY_TIMEOUT:g} s by {writer}") from error
            raise
        except OSError:
            self._files.require()  # where the lock cannot be made again, this is why
            raise

    def _require_files(self) -> None:
        """Raise Misplaced where a file is not at its path, once what it held is saved; under the lock."""
        if self._files.are_there():
            self._reason = None
            return
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._files.save(_driver(self._connection))
        reason = self._files.reason()
        if self._reason is not None and reason not in {None, self._reason}:
            _log.error("%s", reason)  # the first one is told as the reason of an outage
        self._reason = reason
        self._files.require()

    def wrote(self, size: int) -> None:
        """Account for bytes that were committed, then checkpoint and mark where it is time."""
        self._log_size += size
        # A guess is wrong by far where an operator's batch writes thousands of rows; the file then grows.
        on_disk = size_of_log(self.path)
        grown = on_disk - self._log_at_checkpoint
        if self._log_size * self._frames_per_guess > CHECKPOINT_AT or grown > CHECKPOINT_AT:
            with self.lock.held():
                is_empty = self._checkpoint(self._connected(), "PASSIVE")
            self._log_at_checkpoint = min(on_disk, _LOG_KEPT) if is_empty else on_disk
        self.mark()

    def _checkpoint(self, connection: sa.Connection, mode: str) -> bool:
        """Copy the log into the file; whether all of it was."""
        busy, frames, copied = self._pragma(connection, f"wal_checkpoint({mode})")
        if mode == "PASSIVE" and self._log_size:
            # How much a batch really writes is learned here: pages are shared, indexes cost some.
            self._frames_per_guess = min(4.0, max(0.25, frames * _FRAME / self._log_size))
            self._log_size = 0.0
        return not busy and frames == copied

    def _pragma(self, connection: sa.Connection, pragma: str) -> tuple[int, ...]:
        row = _driver(connection).execute(f"PRAGMA {pragma}").fetchone()
        return tuple(int(value) for value in row)

    def mark(self, *, now: bool = False) -> None:
        """Write the mark, once a second, where something was added or the mark is not as it was written.

        A failure waits for the next.
        """
        if not self._journal_id or (not now and time.monotonic() - self._marked_at < _SECOND):
            return
        event_seq, delivery_seq = last_seqs(self._connected())
        mark = Mark(journal=self._journal_id, event_seq=event_seq, delivery_seq=delivery_seq)
        self._marked_at = time.monotonic()
        path = beside(self.path, ".mark")
        if mark == self._marked and identity_of(path) == self._marked_file:
            return
        with contextlib.suppress(OSError):
            mark.write(path)
            self._marked, self._marked_file = mark, identity_of(path)

    def set_journal_id(self, journal_id: str) -> None:
        """Whose mark is to be written."""
        self._journal_id = journal_id

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._files.note_database()
            connection = self._engine.connect()
            if self._suspect_log and not self._checkpoint(connection, "TRUNCATE"):
                connection.close()
                raise OSError("the log could not be emptied after a fault: a reader holds it")
            self._suspect_log = False
            self._connections += 1
            self._connection = connection
        return self._connection

    def discard(self) -> None:
        """Throw the connection away after a fault.

        After a failed fsync the kernel takes the pages for clean though they never reached the
        disk. What follows them in the log would be lost with them, so the next connection empties
        the log into the file before anything is acknowledged.
        """
        self._suspect_log = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError, sqlite3.Error, OSError), self.lock.held():
                self._disconnect(connection)

    def _disconnect(self, connection: sa.Connection) -> None:
        """Close a connection; under the lock, since closing the last one is a checkpoint."""
        if self._files.are_there():
            self._files.forget_others()
            connection.close()
            return
        # Its checkpoint would go by an index that others have left, over what they have written since, and
        # delete their log. So the process takes the connection along, as one that is killed does.
        _driver(connection).rollback()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def fault_of(self, error: Exception) -> Fault:
        """By SQLite's code, where the error has one."""
        return fault_of(error)

    def no_room(self) -> str | None:
        """Why no event may be taken now, if so; looks at the files and at the disk once a second."""
        if time.monotonic() - self._looked_at >= _SECOND:
            self._looked_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.lock.look()
            self._misplaced = self._files.reason()
            if self._misplaced is not None:
                self._misplaced = self._saved_reason()
            with contextlib.suppress(OSError):
                self._free = free_bytes(self.path.parent)
        if self._misplaced is not None:
            return self._misplaced
        if self._free is None or self._free >= RESERVE:
            return None
        return (
            f"disk low: {self._free >> 20} MiB free in {self.path.parent}, {RESERVE >> 20} MiB are kept in"
            " reserve; make room and events are taken again"
        )

    def _saved_reason(self) -> str | None:
        try:
            with self.lock.held():
                self._require_files()
        except OSError:
            return self._files.reason()
        return None

    def size(self, connection: sa.Connection) -> int:
        """Bytes in use inside the file."""
        pages, free, page = (
            self._pragma(connection, name)[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page

    def lease(self, node: str | None, times: Times) -> FileLease:
        """The life of a node: a file that it holds locked."""
        return FileLease(self.path, node, times)

    def close(self) -> None:
        """Mark, empty the log into the file, let go."""
        with contextlib.suppress(sa.exc.SQLAlchemyError, sqlite3.Error, OSError):
            self.mark(now=True)
        with contextlib.suppress(sa.exc.SQLAlchemyError, sqlite3.Error, OSError), self.lock.held():
            connection = self._connected()
            if self._files.are_there():
                self._end_use(connection)
            self._disconnect(connection)
        self._connection = None
        self._engine.dispose()
        self.lock.close()

    def begin_use(self) -> None:
        """Have the file say which one it is, in itself and not only in its log, before anything else."""
        if self.write(lambda connection: file_in_use.note(connection, self.path)):
            with self.lock.held():
                self._checkpoint(self._connected(), "TRUNCATE")

    def _end_use(self, connection: sa.Connection) -> None:
        """Empty the log into the file, which is whole then, unless others go on writing."""
        with connection.begin():
            if not living(connection, self.path):
                file_in_use.forget(connection)
        self._checkpoint(connection, "TRUNCATE")

    def abandon(self) -> None:
        """Let go without a mark or a checkpoint: what was found stays as it was."""
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
        self.lock.close()
