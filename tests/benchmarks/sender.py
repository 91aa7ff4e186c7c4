"""The senders: connections that each post the next event when the last was acknowledged, for a set time.

Requests are built and signed before the clock starts. What was seen is printed as JSON at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import time
from collections.abc import Iterator
from typing import cast

import uvloop

from tests.benchmarks.payload import post_request


class Run:
    """The requests still to be sent, and what became of those that were."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.deadline = 0.0
        self.latencies: list[float] = []
        self.refused: dict[str, int] = {}
        self.lost_connections = 0

    def take(self, now: float) -> bytes | None:
        """The next request; None when the time or the requests are used up."""
        return next(self.requests, None) if now < self.deadline else None


class Sender(asyncio.Protocol):
    """One connection, kept alive, with one request at a time on it."""

    def __init__(self, run: Run) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class, which is not asyncio's

    def send(self) -> None:
        """Post the next event, or end."""
        now = time.monotonic()
        request = self._run.take(now)
        if request is None:
            self._transport.close()
        else:
            self._sent_at = now
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole, and go on."""
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0 or len(buffer) < head + 4 + _length(buffer[:head].lower()):
            self._buffer = buffer
            return
        self._buffer = b""
        if buffer[9:12] == b"202":
            self._run.latencies.append(time.monotonic() - self._sent_at)
        else:
            status = buffer[9:12].decode("latin-1")
            self._run.refused[status] = self._run.refused.get(status, 0) + 1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that this connection is done."""
        if exc is not None:
            self._run.lost_connections += 1
        if not self.ended.done():
            self.ended.set_result(None)


def _length(head: bytes) -> int:
    start = head.find(b"content-length:")
    if start < 0:
        return 0
    end = head.find(b"\r", start)
    return int(head[start + 15 : end if end > 0 else len(head)])


async def _main(options: argparse.Namespace) -> None:
    numbers = range(options.first, options.first + options.most)
    requests = [post_request(number, path=options.path, signed=options.signed) for number in numbers]
    run = Run(iter(requests))
    gc.freeze()
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: Sender(run), "127.0.0.1", port))[1]
        for _, port in zip(range(options.senders), itertools.cycle(options.ports), strict=False)
    ]
    started = time.monotonic()
    run.deadline = started + options.seconds
    for sender in senders:
        sender.send()
    # An answer that never comes must not keep the benchmark: what is still out then counts as lost.
    await asyncio.wait([sender.ended for sender in senders], timeout=options.seconds + 10)
    seen = sorted(run.latencies)
    report = {
        "started": started,
        "ended": time.monotonic(),
        "acknowledged": len(seen),
        "refused": run.refused,
        "lost_connections": run.lost_connections,
        "p50": seen[len(seen) // 2] if seen else 0.0,
        "p99": seen[len(seen) * 99 // 100] if seen else 0.0,
    }
    print(json.dumps(report), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports", type=lambda text: [int(port) for port in text.split(",")], required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--senders", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--most", type=int, required=True)
    parser.add_argument("--signed", action="store_true")
    uvloop.run(_main(parser.parse_args()))
