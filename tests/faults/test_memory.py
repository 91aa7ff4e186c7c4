"""Memory that senders and destinations could take: large bodies for what hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.support import RelayProcess
from tests.support.wait import eventually
from tests.unit.egress_helpers import Server, listening

StartRelay = Callable[..., RelayProcess]

MB = 1_000_000
SIZE = 20 * 1024 * 1024
EVENTS = 10


class Hanging:
    """A downstream that takes heads and no bodies; once it is let go, it takes those too and answers 200."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def take(self, _: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.begun += 1
                await self.go_on.wait()
                left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                while left and (piece := await reader.read(min(left, 1 << 20))):
                    left -= len(piece)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def config(port: int) -> str:
    """One source, and two destinations at this port."""
    out = f"url: 'http://127.0.0.1:{port}/', timeout: 10m, breaker: none"
    return f"""
sources: {{in: {{verify: none, max_body: 25MiB}}}}
destinations:
  one: {{{out}}}
  two: {{{out}}}
routes: [{{source: in, to: [one, two]}}]
"""


def peak(relay: RelayProcess) -> int:
    """The most memory that the service had resident since it began, in bytes."""
    status = Path(f"/proc/{relay.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_large_bodies_for_destinations_that_hang(start_relay: StartRelay) -> None:
    """They take no more than their room, before and after a restart, and leave nothing when all is delivered.

    Without a limit it was 780 MB.
    """
    downstream = Hanging()

    async def until_begun(count: int) -> None:
        await asyncio.to_thread(eventually, lambda: downstream.begun >= count, timeout=60)

    async with listening(downstream.take) as server:
        relay = start_relay(config(server.port), start=False)
        await asyncio.to_thread(relay.start)
        for _ in range(EVENTS):
            assert (await asyncio.to_thread(relay.post, "in", bytes(SIZE), timeout=30)).status == 202
        await until_begun(16)  # eight bodies, each on its way to both
        assert peak(relay) < 500 * MB
        relay.kill9()
        await asyncio.to_thread(relay.start)
        await until_begun(32)
        downstream.go_on.set()
        await asyncio.to_thread(
            relay.wait_log, "attempt.finished", 2 * EVENTS, timeout=60, outcome="delivered"
        )
        await asyncio.to_thread(eventually, lambda: relay.rss < 200 * MB, timeout=30)
        assert peak(relay) < 500 * MB
        await asyncio.to_thread(relay.term)
