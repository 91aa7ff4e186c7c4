"""Memory that senders and destinations could take: large bodies for a destination that hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.support import RelayProcess
from tests.support.wait import eventually
from tests.unit.egress_helpers import Server, listening

StartRelay = Callable[..., RelayProcess]

MB = 1_000_000
SIZE = 20 * 1024 * 1024
EVENTS = 12


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
    """One source, and a destination at this port."""
    return f"""
sources: {{in: {{verify: none, max_body: 25MiB}}}}
destinations: {{out: {{url: 'http://127.0.0.1:{port}/', timeout: 10m, breaker: none}}}}
routes: [{{source: in, to: out}}]
"""


def peak(relay: RelayProcess) -> int:
    """The most memory that the service had resident since it began, in bytes."""
    status = Path(f"/proc/{relay.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def taken(relay: RelayProcess, body: bytes) -> bool:
    """Post it once; where there is no room for it now, it is refused, and perhaps not read to its end."""
    try:
        status = relay.post("in", body, timeout=30).status
    except OSError:
        return False
    assert status in {202, 503}
    return status == 202


async def test_large_bodies_for_a_destination_that_hangs(start_relay: StartRelay) -> None:
    """Posted at once, they take no more than their room, also after a restart, and leave nothing behind.

    With a limit in receipt and another one in flight it was 620 MB.
    """
    downstream, body = Hanging(), bytes(SIZE)

    async def until_begun(count: int) -> None:
        await asyncio.to_thread(eventually, lambda: downstream.begun >= count, timeout=60)

    async with listening(downstream.take) as server:
        relay = start_relay(config(server.port), start=False)
        await asyncio.to_thread(relay.start)
        with ThreadPoolExecutor(EVENTS) as senders:
            loop = asyncio.get_running_loop()
            send = partial(eventually, lambda: taken(relay, body), timeout=60)
            await asyncio.gather(*(loop.run_in_executor(senders, send) for _ in range(EVENTS)))
        await until_begun(3)  # as many as have room whatever is in receipt
        assert peak(relay) < 500 * MB
        relay.kill9()
        await asyncio.to_thread(relay.start)
        await until_begun(6)
        downstream.go_on.set()
        await asyncio.to_thread(relay.wait_log, "attempt.finished", EVENTS, timeout=60, outcome="delivered")
        await asyncio.to_thread(eventually, lambda: relay.rss < 200 * MB, timeout=30)
        assert peak(relay) < 500 * MB
        await asyncio.to_thread(relay.term)
