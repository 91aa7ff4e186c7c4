"""A downstream for the demo: it refuses the first attempt of everything with 503."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class _Server(ThreadingHTTPServer):
    """Counts the attempts of each event on each path; a thread a connection, all of them daemons."""

    daemon_threads = True

    def __init__(self, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._failures = failures
        self._seen: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def refuses(self, path: str, event_id: str) -> bool:
        """Whether this attempt is one of the first `failures` of its event here."""
        with self._lock:
            attempt = self._seen.get((path, event_id), 0) + 1
            self._seen[path, event_id] = attempt
        return attempt <= self._failures


class _Handler(BaseHTTPRequestHandler):
    """Reads a request whole, and answers 503 or 200."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server
    answers: ClassVar[dict[bool, tuple[HTTPStatus, bytes]]] = {
        True: (HTTPStatus.SERVICE_UNAVAILABLE, b"still starting, try again\n"),
        False: (HTTPStatus.OK, b"ok\n"),
    }

    def do_POST(self) -> None:
        """Take one delivery."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        event_id = self.headers.get("relay-event-id", "")
        status, body = self.answers[self.server.refuses(self.path, event_id)]
        self.send_response(status)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the demo tells the story from the journal."""


@contextmanager
def running(*, failures: int = 1) -> Iterator[str]:
    """A receiver on a free port of the loopback, as its base URL; it ends with the block."""
    with _Server(failures) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
