"""Opening a journal, to write or to read: which engine its URL names, and what all engines need first."""

# ruff: noqa: PLC0415 - an engine is imported where it is used: PostgreSQL's driver is an extra

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from relay.errors import JournalRefused, MayLack
from relay.journal.engine import Engine, View

_POSTGRES = ("postgresql:", "postgres:", "postgresql+psycopg:")


def open_engine(url: str, *, create: bool) -> Engine:
    """The engine of a journal whose tables are up to date.

    A file is made and upgraded with `create`, else refused; a database is neither.
    """
    if is_postgres(url):
        from relay.journal.postgres.opening import open_database

        return open_database(url)
    from relay.journal.sqlite.opening import open_file

    return open_file(database_path(url), create=create)


def open_view(url: str) -> View:
    """The view of a journal that may be read; or JournalRefused."""
    if is_postgres(url):
        from relay.journal.postgres.opening import view_database

        return view_database(url)
    from relay.journal.sqlite.opening import view_file

    return view_file(database_path(url))


def upgrade(url: str) -> tuple[int | None, int]:
    """Bring a journal's tables up to date, in an empty database too; the version before, and now."""
    if is_postgres(url):
        from relay.journal.postgres.opening import upgrade_database

        return upgrade_database(url)
    from relay.journal.sqlite.opening import upgrade_file

    return upgrade_file(database_path(url))


def doubt_of(url: str) -> MayLack | None:
    """Why a file is not served, where that is because it may lack events; None for a database."""
    if is_postgres(url):
        return None
    from relay.journal.sqlite import opening as sqlite_opening

    return sqlite_opening.doubt_of(database_path(url))


def accept_file(url: str) -> None:
    """Have a journal's file served as it is, whatever it may lack."""
    from relay.journal.sqlite import opening as sqlite_opening

    sqlite_opening.accept_file(database_path(url))


def database_path(url: str) -> Path:
    """The file that an SQLite journal's URL names."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise JournalRefused(
            "RELAY_JOURNAL is no journal's URL: set it to sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        ) from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        # Of the rest, a password may be in any part: it may be in the query, or have a bare `/`.
        raise JournalRefused(
            f"{parsed.drivername}: is no journal that this version can use: set RELAY_JOURNAL to"
            " sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        )
    return Path(parsed.database).absolute()


def folder_of(url: str) -> Path | None:
    """Where on this machine a journal needs room; None on a server, or where the URL is no journal's."""
    try:
        return None if url.startswith(_POSTGRES) else database_path(url).parent
    except JournalRefused:
        return None


def is_postgres(url: str) -> bool:
    """Whether a URL names a journal on PostgreSQL; JournalRefused where the driver for it is missing."""
    if not url.startswith(_POSTGRES):
        return False
    if find_spec("psycopg") is None:
        raise JournalRefused(
            "a journal on PostgreSQL needs a driver that is not installed: pip install 'relay[postgres]'"
        )
    return True
