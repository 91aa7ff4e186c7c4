"""Opening an SQLite journal: made where there never was one, refused where one was lost."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path

import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal import schema
from relay.journal.engine import SqliteEngine, beside, database_path, last_seqs, make_engine, words_of
from relay.journal.mark import read_mark

_FAULTS = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError)


def open_engine(url: str, *, create: bool) -> SqliteEngine:
    """The engine of a journal that is sound as far as the mark beside it tells, its tables up to date."""
    path = database_path(url)
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
                check(path)
        _prepare(engine, create=create)
    except JournalRefused:
        engine.abandon()
        raise
    except _FAULTS as error:
        engine.abandon()
        raise _unusable(path, error) from error
    return engine


def missing(path: Path) -> JournalRefused:
    """What to say where there is no journal, or none any more."""
    if beside(path, ".mark").exists():
        return _lost(path, "is gone")
    return JournalRefused(f"no journal at {path}: start `relay serve` there, or set RELAY_JOURNAL")


def check(path: Path) -> int:
    """Refuse a file that is empty, damaged, too new, or behind its mark; reads only, keeps the evidence.

    Returns the version of its tables, which may be an older one.
    """
    if not path.exists():
        raise missing(path)
    _refuse_unreadable(path)
    mark = read_mark(beside(path, ".mark"))
    if path.stat().st_size == 0:
        raise _lost(path, "is empty")
    engine = make_engine(path, readonly=True)
    try:
        with engine.connect() as connection:
            facts = _facts(connection)
            seqs = last_seqs(connection)
    except (sa.exc.DatabaseError, sqlite3.Error) as error:
        if "locked" in str(error):
            raise
        raise _lost(path, f"cannot be read as a journal ({words_of(error)})") from error
    finally:
        engine.dispose()
    if int(facts["oldest"]) > schema.VERSION:
        raise JournalRefused(
            f"{path} was written by a newer Relay and needs at least its version {facts['oldest']} of the"
            f" tables; this program knows version {schema.VERSION}: install the newer Relay"
        )
    if mark is None:
        return int(facts["version"])
    if facts["id"] != mark.journal:
        raise _lost(path, f"is another journal ({facts['id']}) than the one that was here ({mark.journal})")
    if seqs[0] < mark.event_seq or seqs[1] < mark.delivery_seq:
        raise _lost(
            path,
            f"lacks commits: it ends at event {seqs[0]} and delivery {seqs[1]}, where event"
            f" {mark.event_seq} and delivery {mark.delivery_seq} were stored",
        )
    return int(facts["version"])


def too_old(path: Path) -> JournalRefused:
    """What to say to who only reads, or may not upgrade, a journal whose tables are older."""
    return JournalRefused(
        f"the tables of {path} are of an older Relay: start `relay serve` once to upgrade them"
    )


def _refuse_unreadable(path: Path) -> None:
    if not path.is_file():
        raise JournalRefused(f"the journal {path} is no file: set RELAY_JOURNAL to the path of one")
    if not os.access(path, os.R_OK):
        raise JournalRefused(
            f"the journal {path} may not be read by this user: run the command as its owner, {_owner(path)}"
        )


def _facts(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(sa.select(schema.meta.c.key, schema.meta.c.value))
    facts = {row.key: row.value for row in rows}
    if not {"id", "version", "oldest"} <= facts.keys():
        raise sqlite3.DatabaseError("its id or version is missing")
    for table in schema.metadata.sorted_tables:
        if int(facts["version"]) >= table.info.get("since", 1):
            connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).all()
    return facts


def _make_file(path: Path) -> bool:
    """Make the file where there is none and none was lost; True when its tables are still to be made."""
    marked = beside(path, ".mark").exists()
    if path.exists():
        # An empty file without a mark is a start that was cut short before its first commit.
        return path.stat().st_size == 0 and not marked
    if marked:
        raise missing(path)
    # No connection to a file that did not exist can be open in this process, so closing is harmless.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return True


def _prepare(engine: SqliteEngine, *, create: bool) -> None:
    """Bring the tables up to date and learn the journal's id."""
    revision = engine.write(_revision)
    if revision is None or revision < schema.REVISION:
        if not create:
            raise too_old(engine.path)
        engine.write(_upgrade)
    facts = engine.write(_facts)
    engine.set_journal_id(facts["id"])
    engine.mark(now=True)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _upgrade(connection: sa.Connection) -> None:
    # Imported when needed: alembic costs every start a tenth of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "relay:journal/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    wanted = {
        "version": str(schema.VERSION),
        "oldest": str(schema.OLDEST_USABLE),
    }
    there = {row.key for row in connection.execute(sa.select(schema.meta.c.key))}
    first = {"id": uuid.uuid4().hex, "probed_at": "0", "reload": "0"}
    for key, value in (first | wanted).items():
        if key not in there:
            connection.execute(sa.insert(schema.meta).values(key=key, value=value))
        elif key in wanted:
            connection.execute(sa.update(schema.meta).where(schema.meta.c.key == key).values(value=value))


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
    return JournalRefused(f"the journal {path} cannot be opened: {words_of(error)}")
