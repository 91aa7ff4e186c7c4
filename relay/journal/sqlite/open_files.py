"""The files of an open SQLite journal: whether each is still the one at its path, and what to do where not.

SQLite goes on writing into a file that was deleted or moved, and so events would be acknowledged that
nobody finds again. The paths are looked at for each batch, before it and before its futures resolve: a look
takes 2 µs, and one a second would let a second's events go into a file that is gone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from relay.journal.sqlite import file_in_use
from relay.journal.sqlite.locks import RESERVE, Identity, beside, free_bytes, identity_of

_OPEN = Path("/proc/self/fd")

_Look = tuple[str, Identity, Path]


class Misplaced(OSError):
    """A file of the journal is at its path no more, or another is there."""


class OpenFiles:
    """The database, its log and its index, as one connection has them open; used by its thread alone."""

    def __init__(self, path: Path) -> None:
        self._named = path
        # SQLite follows links, and has the other two beside the file itself.
        self._database = Path(os.path.realpath(path))
        self._log = beside(self._database, "-wal")
        self._index = beside(self._database, "-shm")
        self._known: dict[Path, Identity] = {}
        self._looks: tuple[_Look, ...] = ()
        self._saved: Path | None = None
        self._log_is_copied = False

    def note_database(self) -> None:
        """Note which database a connection opens; Misplaced where the one before it had another."""
        found = identity_of(self._named)
        known = self._known.get(self._database)
        if found is None or known not in {None, found}:
            raise Misplaced(self._reason(self._database))
        self._known[self._database] = found
        self._prepare()

    def note_others(self) -> None:
        """Note which log and index a connection has open, once it has begun a transaction."""
        if self._log in self._known:
            return
        for path in (self._log, self._index):
            found = identity_of(path)
            if found is not None:
                self._known[path] = found
        self._prepare()

    def forget_others(self) -> None:
        """The connection is closed: the next one may make another log and another index."""
        self._known.pop(self._log, None)
        self._known.pop(self._index, None)
        self._prepare()

    def _prepare(self) -> None:
        """Have at hand what is compared for each batch, with paths as text, which are cheaper."""
        names = {self._database: str(self._named), self._log: str(self._log), self._index: str(self._index)}
        self._looks = tuple(
            (name, self._known[path], path) for path, name in names.items() if path in self._known
        )

    def require(self) -> None:
        """Raise Misplaced unless all of them are where they were opened."""
        reason = self.reason()
        if reason is not None:
            raise Misplaced(reason)

    def are_there(self) -> bool:
        """Whether all of them are where they were opened."""
        return self._first_missing(self._looks) is None

    def hold_what_was_written(self) -> bool:
        """Whether what was just committed is in files that are there; the index holds nothing of its own."""
        return self._first_missing(self._looks[:2]) is None

    def reason(self) -> str | None:
        """What became of the first of them that is not where it was, and what to do; None where all are."""
        missing = self._first_missing(self._looks)
        return None if missing is None else self._reason(missing)

    def _first_missing(self, looks: Sequence[_Look]) -> Path | None:
        for name, known, path in looks:
            if identity_of(name) != known:
                return path
        return None

    def save(self, connection: sqlite3.Connection) -> None:
        """Put what only open descriptors hold into files with a name, where that can be done.

        The database, with what is in its log, goes into a copy beside its path; the log, where it alone
        was deleted, into the database. For a caller who has the lock.
        """
        if self._is_deleted(self._database):
            if self._saved is None:
                self._saved = self._copy(connection)
            if self._saved is None:
                _make_whole(connection)
        elif self._is_deleted(self._log) and not self._log_is_copied and not _has_content(self._log):
            busy, frames, copied = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            self._log_is_copied = not busy and frames == copied

    def _copy(self, connection: sqlite3.Connection) -> Path | None:
        """The copy, unless there is no room for it; another process may have made it of the same file."""
        target = beside(self._database, f".saved-{self._deleted_at()}")
        if _extent_of(target) >= _extent(connection):
            return target
        pages, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        if free_bytes(target.parent) < pages * page + RESERVE:
            return None
        fresh = beside(target, f".{os.getpid()}.new")
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(fresh)) as copy:
            connection.backup(copy)
            with copy:  # it has what was in the log, too
                copy.execute("DELETE FROM meta WHERE key = ?", (file_in_use.KEY,))
        fresh.replace(target)
        return target

    def _deleted_at(self) -> str:
        """When the database was deleted, for all processes that have it open alike."""
        found = (_OPEN / str(_descriptor(self._known[self._database]))).stat()
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(found.st_ctime))

    def _is_deleted(self, path: Path) -> bool:
        """Whether only descriptors are left of it."""
        found = _descriptor(self._known.get(path))
        return found is not None and (_OPEN / str(found)).stat().st_nlink == 0

    def _reason(self, path: Path) -> str:
        return f"{path} {self._became(path)}. {self._to_do(path)}"

    def _became(self, path: Path) -> str:
        descriptor = _descriptor(self._known.get(path))
        if descriptor is None:
            became = "was deleted or moved"
        elif self._is_deleted(path):
            became = "was deleted"
        else:
            became = f"was moved to {(_OPEN / str(descriptor)).readlink()}"
        return (
            became if identity_of(path) is None else f"{became}, and another file is there, which is not used"
        )

    def _to_do(self, path: Path) -> str:
        if not self._is_deleted(path):
            if path == self._index:
                return "Move it back, or restart the service: nothing is lost"
            return "Move it back, and events are taken again"
        if path == self._index:
            return "Restart the service: nothing is lost"
        if path == self._log and self._log_is_copied:
            return f"What was in it was copied into {self._database}: restart the service, nothing is lost"
        if path == self._database and self._saved is not None:
            return f"What it held is saved: stop the service, `mv {self._saved} {path}`, start it again"
        copies = " && ".join(
            f"cp /proc/{os.getpid()}/fd/{_descriptor(self._known[one])} {one}"
            for one in (self._database, self._log)
            if self._is_deleted(one)
        )
        return (
            f"This process still holds what was in it: leave it running, `{copies}`, then restart the service"
        )


def _make_whole(connection: sqlite3.Connection) -> None:
    """Have all of a deleted database in its file alone, from which it can be copied."""
    connection.execute("DELETE FROM meta WHERE key = ?", (file_in_use.KEY,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def saved_copies(path: Path) -> list[Path]:
    """What was saved of deleted databases at this path, and not yet moved back."""
    return sorted(path.parent.glob(f"{path.name}.saved-????????T??????Z"))


def _extent(connection: sqlite3.Connection) -> tuple[int, int]:
    """How far a journal goes: the last numbers that were given to an event and to a delivery."""
    numbers = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    return numbers.get("event", 0), numbers.get("delivery", 0)


def _extent_of(copy: Path) -> tuple[int, int]:
    """How far a copy goes; nowhere where there is none. Nobody else has it open: it may be closed again."""
    if not copy.exists():
        return -1, -1
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        return _extent(connection)


def _has_content(path: Path) -> bool:
    """Whether there is a file that somebody wrote into."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _descriptor(known: Identity | None) -> int | None:
    """By which descriptor this process has a file open, whatever became of its path."""
    if known is None:
        return None
    try:
        numbers = [int(name) for name in os.listdir(_OPEN)]  # noqa: PTH208 - their names are all it takes
    except OSError:
        return None
    for number in sorted(numbers):
        try:
            found = os.stat(f"/proc/self/fd/{number}")  # noqa: PTH116 - as above
        except OSError:  # that of the list itself
            continue
        if (found.st_dev, found.st_ino) == known:
            return number
    return None
