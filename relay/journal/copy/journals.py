"""Moving a journal from SQLite to PostgreSQL, and taking back one that was given up for that."""

from __future__ import annotations

import json

import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal.copy.progress import Copied, Told
from relay.journal.opening import database_path, is_postgres
from relay.journal.sqlite.engine import SqliteEngine
from relay.journal.sqlite.opening import check
from relay.journal.tables import versioning
from relay.journal.tables.facts import remove_fact


def copy_journal(source: str, target: str, told: Told) -> Copied | None:
    """Move the SQLite journal at one URL to PostgreSQL at another; None where that was done before.

    Raises JournalRefused where one of them must not be used for it, JournalUnavailable where it was cut
    off: the same call goes on then.
    """
    path = database_path(source)
    if not is_postgres(target):
        raise JournalRefused(
            "a journal is copied from SQLite to PostgreSQL: write TO as postgresql://USER@HOST/DATABASE"
        )
    from relay.journal.copy.rows import copy_file  # noqa: PLC0415 - PostgreSQL's driver is an extra

    return copy_file(path, target, told)


def take_back(source: str) -> str | None:
    """Make a journal that was given up one to serve again; where it was moved to, None if it was not."""
    path = database_path(source)
    check(path)
    engine = SqliteEngine(path)
    try:
        return engine.write(_take_back)
    finally:
        engine.close()


def _take_back(connection: sa.Connection) -> str | None:
    moved = versioning.read_facts(connection).get(versioning.MOVED)
    remove_fact(connection, versioning.MOVED)
    return None if moved is None else str(json.loads(moved)["to"])
