"""Real servers that say exactly the bytes a test wants said, and a client that tries them once."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

from relay.config.model import Auth, Destination, EgressRules, Http, Success, Timeout
from relay.egress import AttemptInput, Egress, Result
from relay.expressions import View, compile_template
from relay.model import Delivery, Event, Headers
from relay.retry import Policy
from relay.routing import view_of
from relay.signatures import Scheme

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OWN = (
    b"idempotency-key",
    b"relay-event-id",
    b"relay-delivery-id",
    b"relay-source",
    b"relay-attempt",
    b"traceparent",
)
"""What Relay says of every delivery (see test_egress_headers)."""

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


def rules(*, deny: str = "", allow: str = "", proxy: str | None = None) -> EgressRules:
    """Rules of `egress`, the networks with blanks between them."""
    return EgressRules(
        deny=tuple(map(ip_network, deny.split())), allow=tuple(map(ip_network, allow.split())), proxy=proxy
    )


def api(
    url: str,
    *,
    method: str | None = None,
    headers: Headers = (),
    query: bool = False,
    auth: Auth | None = None,
    sign: tuple[Scheme, ...] = (),
    tls: ssl.SSLContext | None = None,
) -> Http:
    """An HTTP API; every 2xx is a success."""
    return Http(
        url=compile_template(url),
        method=method,
        forward_query=query,
        headers=headers,
        success=Success(frozenset(range(200, 300))),
        auth=auth,
        sign=sign,
        tls=tls,
    )


def destination(target: Http, *, total: float = 10.0, connect: float | None = None) -> Destination:
    """A destination with no limits."""
    return Destination(
        name="out",
        target=target,
        timeout=Timeout(connect=connect, total=total),
        retry=Policy(),
        concurrency=16,
        rate=None,
        breaker=None,
        order=None,
        max_backlog=None,
    )


def attempt_input(
    *, method: str = "POST", query: bytes = b"", headers: Headers = (), body: bytes = b"{}"
) -> AttemptInput:
    """An event as its sender posted it, on its way for the first time."""
    event = Event(
        id="evt_1",
        source="in",
        type=None,
        provider_id=None,
        received_at=0.0,
        method=method,
        path="/in",
        query=query,
        headers=headers,
        body=body,
        remote=None,
    )
    delivery = Delivery(
        id="dlv_1",
        event_id="evt_1",
        source="in",
        route="in-to-out",
        destination="out",
        key="key_1",
        created_at=0.0,
        age_from=0.0,
        attempts=1,
    )

    def view() -> View:
        return view_of(event, {}, 1024 * 1024)

    return AttemptInput(event=event, delivery=delivery, rendered=None, secret_headers=frozenset(), view=view)


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
    """Try once; `headers` are the destination's own."""
    target = api(url, headers=headers)
    return await egress.send(
        attempt_input(method=method, body=body), destination(target, total=total, connect=connect)
    )
