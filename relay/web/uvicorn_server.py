"""Runs uvicorn's servers until a signal, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from relay.telemetry import Telemetry
from relay.web.sockets import BACKLOG

GC_THRESHOLDS = (20_000, 50, 50)
"""Events die young and in no circles: looking for circles as often as Python does costs a tenth."""

MMAP_THRESHOLD = 1024 * 1024
"""Bytes from which on memory is the system's again as soon as it is free. By itself glibc moves this up to
32 MB with the first large bodies, and then keeps some 150 MB of what they leave."""

_M_MMAP_THRESHOLD = -3
"""Its number in glibc's malloc.h."""

LAST_ANSWERS = 1.0
"""Seconds after the drain for requests that are still being answered."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: one pair of ours serves all listeners."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Signals`."""
        yield


@dataclass(frozen=True, slots=True)
class Signals:
    """What this process was asked for: to stop (SIGTERM, SIGINT), and to take the file anew (SIGHUP)."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self) -> None:
        """Hear them from now on, in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.hangup.set)


async def at_each(
    event: asyncio.Event, act: Callable[[], Awaitable[object]], telemetry: Telemetry, *, where: str
) -> None:
    """Act at each setting of an event, for ever; several at once are one. `where` names it in a report."""
    while True:
        await event.wait()
        event.clear()
        try:
            await act()
        except Exception as error:  # noqa: BLE001 - one failure must not stop the loop
            telemetry.internal_error(where=where, error=error)


async def either(*ends: Coroutine[Any, Any, object] | asyncio.Task[Any]) -> None:
    """Wait until one of these ends, and cancel the others."""
    waiting = [asyncio.ensure_future(end) for end in ends]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def make_server(app: object, *, http: object = "httptools") -> Server:
    """A server of ours for an ASGI application."""
    return Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=http,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )
    )


async def serve_until(
    stop: asyncio.Event,
    servers: Sequence[tuple[Server, socket.socket]],
    *,
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Serve until `stop`, or until a server ends; then take no connections, drain, and end them all."""
    listeners = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({*listeners, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for server, _ in servers:
        server.should_exit = True  # no new connections; requests under way are answered
    await drain()
    await asyncio.wait(listeners, timeout=LAST_ANSWERS)
    for server, _ in servers:
        server.force_exit = True
    await asyncio.gather(*listeners)
    stopped.cancel()


def settle_memory() -> None:
    """What start-up made lives as long as the process; the collector need not walk it again and again.

    What large bodies leave goes back to the system, where the C library can be told so.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
