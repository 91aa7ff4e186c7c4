"""The downstream: answers 200 to everything and counts each event's number once.

GET / gives what was counted as JSON; the port is printed when it listens.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast

import uvloop

from tests.benchmarks.payload import ID_END, ID_START

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Counter:
    """The numbers that came, how many requests brought them, and when the last new one did."""

    def __init__(self) -> None:
        self.numbers: set[bytes] = set()
        self.requests = 0
        self.last = 0.0

    def count(self, content: bytes) -> None:
        """Count one event's body."""
        self.requests += 1
        number = content[ID_START:ID_END]
        if number not in self.numbers:
            self.numbers.add(number)
            self.last = time.monotonic()

    def report(self) -> bytes:
        """What was counted so far, as an HTTP answer."""
        content = json.dumps(
            {"delivered": len(self.numbers), "requests": self.requests, "last": self.last}
        ).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


class Downstream(asyncio.Protocol):
    """One connection, kept alive; a request is a head with a Content-Length and that many bytes."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class, which is not asyncio's

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        buffer = self._buffer + data if self._buffer else data
        while (head := buffer.find(b"\r\n\r\n")) >= 0:
            if buffer.startswith(b"GET"):
                self._transport.write(self._counter.report())
                end = head + 4
            else:
                end = head + 4 + _length(buffer[:head].lower())
                if len(buffer) < end:
                    break
                self._counter.count(buffer[head + 4 : end])
                self._transport.write(OK)
            buffer = buffer[end:]
        self._buffer = buffer


def _length(head: bytes) -> int:
    start = head.index(b"content-length:") + 15
    end = head.find(b"\r", start)
    return int(head[start : end if end > 0 else len(head)])


async def _main() -> None:
    counter = Counter()
    server = await asyncio.get_running_loop().create_server(
        lambda: Downstream(counter), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the parent learns the port
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main())
