"""Real servers that say exactly the bytes a test wants said, and a client that tries them once."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from relay.config.model import Timeout
from relay.egress import Egress, Result
from relay.model import Headers

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Server:
    """A listener on a free port of 127.0.0.1; `heads` and `bodies` are what was sent to it."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Where it listens, by plain HTTP."""
        return f"http://127.0.0.1:{self.port}"

    async def receive(self, reader: asyncio.StreamReader) -> bool:
        """Take one request down; False when the client has closed instead."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        return True


@asynccontextmanager
async def listening(
    handle: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Serve each connection by `handle`, and drop those that are left at the end."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(server, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


def answering(*answers: bytes) -> Callable[..., Awaitable[None]]:
    """Give these answers in turn, the last one for ever, and keep the connection."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.receive(reader):
            writer.write(answers[min(len(server.heads), len(answers)) - 1])
            await writer.drain()

    return handle


def saying(*pieces: bytes, pause: float = 0.0) -> Callable[..., Awaitable[None]]:
    """Answer one request in pieces with a pause before each, then close."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        for piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()

    return handle


def resetting(before: bytes = b"") -> Callable[..., Awaitable[None]]:
    """Say this much, then reset the connection."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(before)
        await writer.drain()
        writer.transport.abort()

    return handle


async def attempt(
    egress: Egress,
    url: str,
    *,
    method: str = "POST",
    headers: Headers = (),
    body: bytes = b"{}",
    total: float = 10.0,
    connect: float | None = None,
) -> Result:
    """Try once; every 2xx is a success."""
    return await egress.attempt(
        method=method,
        url=url,
        headers=headers,
        body=body,
        timeout=Timeout(connect=connect, total=total),
        success=lambda status: 200 <= status < 300,
    )
