"""Opening an SQLite journal: made where there never was one, refused where one was lost."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from relay.errors import JournalRefused, MayLack
from relay.journal.engine import error_text
from relay.journal.sqlite import file_in_use
from relay.journal.sqlite.engine import SqliteEngine, last_seqs, make_engine
from relay.journal.sqlite.high_water_mark import Mark, read_mark
from relay.journal.sqlite.lease import living
from relay.journal.sqlite.locks import beside
from relay.journal.sqlite.open_files import saved_copies
from relay.journal.sqlite.view import SqliteView
from relay.journal.tables import schema, versioning

_FAULTS = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, versioning.NoJournal)


def open_file(path: Path, *, create: bool) -> SqliteEngine:
    """The engine of a journal that is sound as far as the mark beside it tells, its tables up to date."""
    if not create and not path.exists():
        raise missing(path)
    try:
        engine = SqliteEngine(path)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        with engine.lock.held():
            fresh = _make_file(path) if create else False
            if not fresh:
                check(path, to_write=True)
        _prepare(engine, create=create)
    except JournalRefused:
        engine.abandon()
        raise
    except _FAULTS as error:
        engine.abandon()
        raise _unusable(path, error) from error
    return engine


def view_file(path: Path) -> SqliteView:
    """The view of a journal that is sound as far as the mark beside it tells."""
    if check(path) < schema.VERSION:
        raise versioning.too_old(path)
    return SqliteView(path)


def missing(path: Path) -> JournalRefused:
    """What to say where there is no journal, or none any more."""
    saved = saved_copies(path)
    if saved:
        return JournalRefused(
            f"the journal {path} was deleted while it was served. What it held is saved as {saved[-1]}:"
            f" `mv {saved[-1]} {path}`, and start again; or, if it may be lost, move that away"
        )
    if beside(path, ".mark").exists():
        return _lost(path, "is gone")
    return JournalRefused(f"no journal at {path}: start `relay serve` there, or set RELAY_JOURNAL")


def check(path: Path, *, to_write: bool = False) -> int:
    """Refuse a file that is empty, damaged, too new, or behind its mark; reads only, keeps the evidence.

    With `to_write` also a copy of a file that was in use: it may be looked at, and not served.

    Returns the version of its tables, which may be an older one.
    """
    if not path.exists():
        raise missing(path)
    _refuse_unreadable(path)
    if path.stat().st_size == 0:
        raise _lost(path, "is empty")
    # Read before the file is: who serves it stores more and marks that meanwhile.
    mark = read_mark(beside(path, ".mark"))
    engine = make_engine(path, readonly=True)
    try:
        with engine.connect() as connection:
            facts = versioning.read_facts(connection)
            seqs = last_seqs(connection)
    except (sa.exc.DatabaseError, sqlite3.Error, versioning.NoJournal) as error:
        if "locked" in str(error):
            raise
        raise _lost(path, f"cannot be read as a journal ({error_text(error)})") from error
    finally:
        engine.dispose()
    versioning.refuse_newer(path, facts)
    if mark is not None:
        _refuse_behind(path, mark, facts["id"], seqs)
    if to_write and file_in_use.is_another(facts, path):
        raise MayLack(
            facts["id"],
            f"the journal {path} is a copy of a file that was in use, and may lack what was written last."
            " Nothing was changed. Serve the file that it was copied from; stop Relay before its journal is"
            " copied, or moved to another disk",
        )
    return int(facts["version"])


def _refuse_behind(path: Path, mark: Mark, journal: str, seqs: tuple[int, int]) -> None:
    """Refuse a file that is another than its mark knows, or holds less."""
    if journal != mark.journal:
        raise _lost(path, f"is another journal ({journal}) than the one that was here ({mark.journal})")
    if seqs[0] < mark.event_seq or seqs[1] < mark.delivery_seq:
        raise MayLack(
            journal,
            f"the journal {path} lacks commits: it ends at event {seqs[0]} and delivery {seqs[1]}, where"
            f" event {mark.event_seq} and delivery {mark.delivery_seq} were stored. Nothing was changed. Put"
            " the right file back (with its -wal, if there is one), from a backup or from where it was moved",
        )


def doubt_of(path: Path) -> MayLack | None:
    """Why a file is not served, where that is because it may lack events; other refusals are raised."""
    try:
        check(path, to_write=True)
    except MayLack as doubt:
        return doubt
    return None


def accept_file(path: Path) -> None:
    """Have a file served as it is, whatever it may lack."""
    engine = SqliteEngine(path)
    try:
        engine.set_journal_id(engine.write(versioning.read_facts)["id"])
        engine.begin_use()
    finally:
        engine.close()  # which writes its mark


def _refuse_unreadable(path: Path) -> None:
    if not path.is_file():
        raise JournalRefused(f"the journal {path} is no file: set RELAY_JOURNAL to the path of one")
    if not os.access(path, os.R_OK):
        raise JournalRefused(
            f"the journal {path} may not be read by this user: run the command as its owner, {_owner(path)}"
        )


def _make_file(path: Path) -> bool:
    """Make the file where there is none and none was lost; True when its tables are still to be made."""
    marked = beside(path, ".mark").exists()
    if path.exists():
        # Without a mark: a start that was cut short before its first commit, or one that is at it now.
        return not marked and _has_no_tables(path)
    if marked or saved_copies(path):
        raise missing(path)
    # No connection to a file that did not exist can be open in this process, so closing is harmless.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return True


def _has_no_tables(path: Path) -> bool:
    """Whether nothing was made in a file; False where it cannot be read, which is for others to tell."""
    if path.stat().st_size == 0:
        return True
    engine = make_engine(path, readonly=True)
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0
    except (sa.exc.DatabaseError, sqlite3.Error):
        return False
    finally:
        engine.dispose()


def _prepare(engine: SqliteEngine, *, create: bool) -> None:
    """Bring the tables up to date and learn the journal's id."""
    if not engine.write(versioning.are_current):
        if not create:
            raise versioning.too_old(engine.path)
        engine.write(partial(_upgrade, path=engine.path))
    facts = engine.write(versioning.read_facts)
    versioning.refuse_moved(engine.path, facts)
    engine.begin_use()
    engine.set_journal_id(facts["id"])
    engine.mark(now=True)


def _upgrade(connection: sa.Connection, path: Path) -> None:
    if sa.inspect(connection).has_table(schema.node.name):
        versioning.refuse_beside_older(connection, living(connection, path))
    versioning.upgrade(connection)


def upgrade_file(path: Path) -> tuple[int | None, int]:
    """Bring the tables of a journal that is there up to date; the version before, and now."""
    before = check(path)
    open_file(path, create=True).close()
    return before, check(path)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _lost(path: Path, what: str) -> JournalRefused:
    mark = beside(path, ".mark")
    return JournalRefused(
        f"the journal {path} {what}. Nothing was changed. Put the right file back (with its -wal, if there"
        f" is one), from a backup or from where it was moved; or, if what it held may be lost, move {path}"
        f" and {mark} away and start again"
    )


def _unusable(path: Path, error: Exception) -> JournalRefused:
    folder = path.parent
    if not folder.is_dir():
        return JournalRefused(f"the journal's folder {folder} does not exist: make it, or set RELAY_JOURNAL")
    if not os.access(folder, os.W_OK | os.X_OK):
        return JournalRefused(
            f"the journal's folder {folder} is not writable for this user: change its owner, or set"
            " RELAY_JOURNAL to a place that is (SQLite needs to create files beside the journal)"
        )
    return JournalRefused(f"the journal {path} cannot be opened: {error_text(error)}")
