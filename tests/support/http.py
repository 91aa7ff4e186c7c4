"""A sender whose header list goes out as it is given: names' case, order and duplicates included."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered; header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def _ports() -> Iterator[int]:
    """Ports below those that the system gives to outgoing connections, other ones in each test worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    size = (_LAST_PORT - _FIRST_PORT) // _WORKERS
    first = _FIRST_PORT + worker * size
    start = os.getpid() % size
    return (first + (start + step) % size for step in itertools.count())


_FIRST_PORT, _LAST_PORT, _WORKERS = 12_000, 32_000, 8
_PORTS = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now, and that no test running beside this one will get."""
    for port in _PORTS:
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    timeout: float = 10.0,
) -> Response:
    """One request on its own connection; only Host, and Content-Length for a body, are added."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = list(headers)
    names = {_text(name).lower() for name, _ in given}
    try:
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in given:
            connection.putheader(_text(name), value)
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        fields = tuple((name.lower(), value) for name, value in answer.getheaders())
        return Response(answer.status, fields, answer.read())
    finally:
        connection.close()


def post(
    url: str,
    body: bytes | str = b"{}",
    *,
    headers: Iterable[tuple[str | bytes, str | bytes]] = (("Content-Type", "application/json"),),
    timeout: float = 10.0,
) -> Response:
    """Post a body as a webhook's sender would."""
    raw = body.encode() if isinstance(body, str) else body
    return request("POST", url, body=raw, headers=headers, timeout=timeout)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
