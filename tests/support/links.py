"""A way to a PostgreSQL server that can be made to swallow what goes along it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict


class Link:
    """Passes bytes between clients on a TCP port and a server's socket, until it is told otherwise.

    silent     nothing passes any more, in either direction; nobody is told, also not that a side has left
    lose_ends  what the server answers to a COMMIT is lost, and all that comes after it
    """

    def __init__(self, server: str) -> None:
        self.silent = False
        self.lose_ends = False
        self.lost = 0
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._ended.is_set():
                client.close()
                return
            thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, client: socket.socket) -> None:
        lost = False
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(self._server)
            with selectors.DefaultSelector() as waiting:
                waiting.register(client, selectors.EVENT_READ, server)
                waiting.register(server, selectors.EVENT_READ, client)
                while not self._ended.is_set():
                    for key, _ in waiting.select(0.05):
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            self._while_silent()
                            return
                        if self.lose_ends and not lost and key.fileobj is client and b"COMMIT" in data:
                            lost = True
                            self.lost += 1
                        if not self.silent and not (lost and key.fileobj is server):
                            key.data.sendall(data)

    def _while_silent(self) -> None:
        while self.silent and not self._ended.wait(0.05):
            pass

    def close(self) -> None:
        """End it, with all connections."""
        self._ended.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextlib.contextmanager
def linked(url: str) -> Iterator[tuple[Link, str]]:
    """A link to the server of a database, and the database's URL by way of it."""
    facts = conninfo_to_dict(url)
    link = Link(f"{facts['host']}/.s.PGSQL.5432")
    try:
        yield link, f"postgresql://{facts['user']}@127.0.0.1:{link.port}/{facts['dbname']}"
    finally:
        link.close()
