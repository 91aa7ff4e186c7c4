"""A way to a PostgreSQL server that can be made to swallow what goes along it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

_NAME = ".s.PGSQL.5432"


class Link:
    """Passes bytes between clients and a server, by a socket of its own, until it is told otherwise.

    silent     nothing passes any more, in either direction, and nobody is told
    lose_ends  what the server answers to a COMMIT is lost, and all that comes after it
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.silent = False
        self.lose_ends = False
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _NAME))
        self._listener.listen()
        self._ended = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._ended:
                client.close()
                return
            thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, client: socket.socket) -> None:
        lost = False
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        with client, server, selectors.DefaultSelector() as waiting, contextlib.suppress(OSError):
            waiting.register(client, selectors.EVENT_READ, server)
            waiting.register(server, selectors.EVENT_READ, client)
            while not self._ended:
                for key, _ in waiting.select(0.05):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    lost = lost or (self.lose_ends and key.fileobj is client and b"COMMIT" in data)
                    if not self.silent and not (lost and key.fileobj is server):
                        key.data.sendall(data)

    def close(self) -> None:
        """End it, with all connections."""
        self._ended = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as last:
            last.connect(self._listener.getsockname())
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextlib.contextmanager
def linked(url: str, folder: Path) -> Iterator[tuple[Link, str]]:
    """A link to the server of a database, and the database's URL by way of it; `folder` has a short name."""
    facts = conninfo_to_dict(url)
    link = Link(folder, f"{facts['host']}/{_NAME}")
    try:
        yield link, f"postgresql://{facts['user']}@/{facts['dbname']}?host={folder}"
    finally:
        link.close()
