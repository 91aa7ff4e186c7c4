"""A sender whose header list goes out as it is given: names' case, order and duplicates included."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable
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


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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
