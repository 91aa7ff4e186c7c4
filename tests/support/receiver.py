"""A downstream under the test's command: it records requests as they came and answers as it was told.

It speaks HTTP/1.1 over plain sockets, in a thread of its own, so that nothing between the wire and
the record folds, sorts or lower-cases a header.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Self, assert_never

from tests.support.http import free_port

STREAM_LIMIT = 64 * 1024 * 1024
DRIPS = 240
LONGEST = 30.0


class Fault(Enum):
    """How an answer goes wrong. Each is bounded: none outlives `stop`, and a drip ends by itself."""

    HANG = auto()
    """Takes the request and never answers."""
    DRIP_HEAD = auto()
    """Sends the headers a byte each 0.5 s."""
    DRIP_BODY = auto()
    """Sends status and headers at once, then the body a byte each 0.5 s."""
    RESET = auto()
    """Resets the connection instead of answering."""
    RESET_HEAD = auto()
    """Resets it in the middle of the headers."""
    RESET_BODY = auto()
    """Resets it in the middle of the body."""
    ENDLESS = auto()
    """Sends a body without end, as fast as it is taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: after `delay` seconds, once `until` is set, a status, headers and a body, or a fault."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    until: threading.Event | None = None
    fault: Fault | None = None

    def head(self) -> bytes:
        """The status line and the headers, with a Content-Length where none was given."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        named = {name.lower() for name, _ in self.headers}
        if not named & {"content-length", "transfer-encoding"}:
            length = 1_000_000 if self.fault in {Fault.DRIP_BODY, Fault.RESET_BODY} else len(self.body)
            lines.append("Connection: close" if self.fault is Fault.ENDLESS else f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: names in their own case, in order, duplicates included; `at` is Unix time."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    at: float

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query of the target, without its question mark."""
        return self.target.partition("?")[2]

    def values(self, name: str) -> list[bytes]:
        """Every value of a header, in order; the name in any case."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def header(self, name: str) -> bytes | None:
        """The first value of a header, or None; the name in any case."""
        return next(iter(self.values(name)), None)


class Receiver:
    """A programmable HTTP server on 127.0.0.1; use it as a context manager, or `start` and `stop` it."""

    def __init__(self, *script: Reply | int, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.always: Reply = Reply()
        self.connections = 0
        self._tls = tls
        self._script: deque[Reply] = deque()
        self._paths: dict[str, deque[Reply]] = {}
        self._requests: list[Received] = []
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.script(*script)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Received]:
        """What came so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    def script(self, *replies: Reply | int, path: str | None = None) -> None:
        """Answer the next requests (to `path` alone, if given) so, one each; `always` answers after them."""
        with self._changed:
            queue = self._script if path is None else self._paths.setdefault(path, deque())
            queue.extend(_reply(reply) for reply in replies)

    def answer(self, reply: Reply | int) -> None:
        """From now on answer so whatever has no script."""
        self.always = _reply(reply)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self._requests.clear()

    def wait(
        self, count: int = 1, *, timeout: float = 15.0, where: Callable[[Received], bool] = lambda _: True
    ) -> list[Received]:
        """The requests that match `where`, once there are `count`; AssertionError after `timeout`."""

        def matching() -> list[Received]:
            return [received for received in self._requests if where(received)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= count, timeout):
                came = [(received.method, received.target) for received in self._requests]
                raise AssertionError(
                    f"{len(matching())} of {count} requests within {timeout} s; came: {came}"
                )
            return matching()

    def start(self) -> None:
        """Listen, on the same port as before; what was recorded stays."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="receiver", daemon=True)
        self._thread.start()
        if not ready.wait(5):
            raise AssertionError(f"the receiver did not start on port {self.port}")

    def stop(self) -> None:
        """Stop listening and cut every connection, as a receiver that goes down does."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop = self._thread = None

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        try:
            server = loop.run_until_complete(
                asyncio.start_server(
                    self._serve, "127.0.0.1", self.port, ssl=self._tls, limit=STREAM_LIMIT, backlog=512
                )
            )
            self._loop = loop
            ready.set()
            loop.run_forever()
            server.close()
            loop.run_until_complete(self._cut())
        finally:
            loop.close()

    async def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (received := await _read_request(reader)) is not None:
                if not await _answer(self._take(received), writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    def _take(self, received: Received) -> Reply:
        """Record a request and choose its answer: the path's script, then the common one, then `always`."""
        with self._changed:
            self._requests.append(received)
            self._changed.notify_all()
            own = self._paths.get(received.path)
            if own:
                return own.popleft()
            return self._script.popleft() if self._script else self.always


def _reply(reply: Reply | int) -> Reply:
    return Reply(reply) if isinstance(reply, int) else reply


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection, or None when the other side has ended it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    line, *fields = head[:-4].split(b"\r\n")
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = tuple((name, value.strip()) for name, _, value in (field.partition(b":") for field in fields))
    lower = {name.lower(): value for name, value in headers}
    if lower.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(lower.get(b"content-length", b"0")))
    return Received(method, target, headers, body, time.time())


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


async def _answer(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    """Send one answer; True if the connection may take another request."""
    await asyncio.sleep(reply.delay)
    if reply.until is not None:
        await asyncio.to_thread(reply.until.wait, LONGEST)
    head = reply.head()
    if reply.fault is None:
        writer.write(head + reply.body)
        await writer.drain()
        return b"connection: close" not in head.lower()
    match reply.fault:
        case Fault.HANG:
            await asyncio.Event().wait()
        case Fault.DRIP_HEAD:
            await _drip(writer, head)
        case Fault.DRIP_BODY:
            writer.write(head)
            await _drip(writer, b"x" * DRIPS)
        case Fault.RESET:
            await _reset(writer, b"")
        case Fault.RESET_HEAD:
            await _reset(writer, head[: len(head) // 2])
        case Fault.RESET_BODY:
            await _reset(writer, head + b"half of it")
        case Fault.ENDLESS:
            await _endless(writer, head)
        case _ as never:
            assert_never(never)
    return False


async def _drip(writer: asyncio.StreamWriter, content: bytes) -> None:
    for byte in content[:DRIPS]:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def _reset(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Send what there is, then RST in place of FIN."""
    if content:
        writer.write(content)
        await writer.drain()
        await asyncio.sleep(0.05)
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _endless(writer: asyncio.StreamWriter, head: bytes) -> None:
    """A body without end, cut off after a gigabyte for the machine's sake."""
    writer.write(head)
    for _ in range(16 * 1024):
        writer.write(b"x" * 65536)
        await writer.drain()
