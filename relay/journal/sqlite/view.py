"""An SQLite journal to read: short snapshots, who serves it, and why it takes no events."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from relay.errors import JournalUnreadable
from relay.journal.engine import error_text
from relay.journal.sqlite.engine import make_engine
from relay.journal.sqlite.lease import living, time_of
from relay.journal.sqlite.locks import RESERVE, beside, descriptors_ran_out, identity_of
from relay.journal.sqlite.long_readers import LOG_IS_LARGE, long_readers, size_of_log
from relay.journal.sqlite.refusal import locked, no_room
from relay.journal.tables.schema import node
from relay.journal.values import Pin


class SqliteView:
    """An SQLite journal to read; it never creates or changes one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = identity_of(path)
        self._engine = make_engine(path, readonly=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One snapshot; none of a file that is at its path no more, though it could still be read."""
        if identity_of(self._path) != self._identity:
            raise JournalUnreadable(
                f"the journal {self._path} cannot be read: it was deleted, moved or replaced"
            )
        try:
            with self._engine.connect() as connection:
                yield connection
        except (sa.exc.DatabaseError, sqlite3.Error) as error:
            why = descriptors_ran_out() or error_text(error)
            raise JournalUnreadable(f"the journal {self._path} cannot be read: {why}") from error

    def alive(self, connection: sa.Connection) -> set[str]:
        """Which nodes hold their file."""
        return living(connection, self._path)

    def now(self, connection: sa.Connection) -> float:
        """The time of those who serve it; the wall clock's where nobody does."""
        at = time_of(connection, self._path)
        return time.time() if at is None else at

    def bytes(self, connection: sa.Connection) -> int:  # noqa: ARG002 - see View
        """The file and its log."""
        return sum(file.stat().st_size for file in (self._path, beside(self._path, "-wal")) if file.exists())

    def served_by(self) -> set[int]:
        """The processes of this machine that serve it."""
        with self.reading() as connection:
            alive = self.alive(connection)
            return {row.pid for row in connection.execute(sa.select(node)) if row.id in alive}

    def pinned(self) -> Pin | None:
        """By a reader that lets no checkpoint empty the log, once that is large."""
        size = size_of_log(self._path)
        readers = long_readers(self._path, but=self.served_by()) if size >= LOG_IS_LARGE else []
        if not readers:
            return None
        return Pin(
            by=", ".join(readers),
            does=f"reads the journal without a pause; its log, now {size >> 20} MiB, grows meanwhile",
        )

    def refusal(self) -> str | None:
        """Why it takes no event: no room, or a lock that somebody holds while others serve."""
        reason = no_room(self._path, RESERVE)
        if reason is None and (serving := self.served_by()):
            reason = locked(self._path, serving)
        return reason

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()
