"""The ingress protocol against hostile and slow senders, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from relay.errors import RequestRefused
from relay.process.body_memory import BodyMemory
from relay.web.body import BodyBudget, read_body
from relay.web.protocol import MAX_PIPELINED, IngressProtocol, ingress_protocol

Send = Callable[[dict[str, Any]], Awaitable[None]]

HEAD = b"POST /hooks/x HTTP/1.1\r\nHost: relay\r\n"
PLAIN = HEAD + b"Content-Length: 2\r\n\r\nhi"


class Server:
    """A uvicorn with the ingress protocol, whose app echoes, and what it was told and saw."""

    def __init__(
        self, *, header_deadline: float = 5.0, body_deadline: float = 5.0, crowded_from: float = math.inf
    ) -> None:
        self.refused: list[tuple[int, str]] = []
        self.seen: list[dict[str, Any]] = []
        self.errors: list[RequestRefused] = []
        self.budget = BodyBudget(BodyMemory())
        self.limit = 1024 * 1024
        self.hold = asyncio.Event()
        self.hold.set()
        self.body_deadline = body_deadline
        protocol = ingress_protocol(
            refused=self._refused, header_deadline=header_deadline, crowded_from=crowded_from
        )
        self.protocol: type[IngressProtocol] = protocol
        self.server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http=protocol,
                host="127.0.0.1",
                port=0,
                lifespan="off",
                interface="asgi3",
                ws="none",
                log_config=None,
                access_log=False,
                loop="none",
            )
        )
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    def _refused(self, status: int, reason: str, remote: str | None) -> None:
        assert remote == "127.0.0.1"
        self.refused.append((status, reason))

    async def _app(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.seen.append(scope)
        declared = next((int(value) for name, value in scope["headers"] if name == b"content-length"), None)
        status = 200
        try:
            if scope["path"] == "/unread":
                body = b"unread"
            else:
                body = await read_body(
                    receive,
                    limit=self.limit,
                    deadline=self.body_deadline,
                    declared=declared,
                    budget=self.budget,
                )
        except RequestRefused as refused:
            self.errors.append(refused)
            status, body = refused.status, refused.reason.encode()
        await self.hold.wait()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def exchange(self, *parts: bytes, pause: float = 0.02, within: float = 8.0) -> bytes:
        """Send parts with pauses between; everything the server says until it closes."""
        reader, writer = await self.connect()
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(parts):
                if number:
                    await asyncio.sleep(pause)
                writer.write(part)
                await writer.drain()
        said = b""
        with contextlib.suppress(ConnectionError):  # a close in mid-sending may come as a reset
            while part := await asyncio.wait_for(reader.read(65_536), within):
                said += part
        await hang_up(writer)
        return said

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One connection, closed with the server at the latest."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state it is in."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(**options: float) -> AsyncIterator[Server]:
    """A running server on a free port."""
    server = Server(**options)
    config = server.server.config
    config.load()
    server.server.lifespan = config.lifespan_class(config)
    await server.server.startup()
    listener = server.server.servers[0]
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.hold.set()
        listener.close()
        for writer in server.writers:
            await hang_up(writer)
        while server.server.server_state.connections:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.005)


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one response with a Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 8)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def chunked(body: bytes) -> bytes:
    """A request whose body is sent in chunks as given."""
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(HEAD + b"Host: other\r\nContent-Length: 2\r\n\r\nhi", id="two-hosts"),
        pytest.param(HEAD + b"HOST: relay\r\nContent-Length: 2\r\n\r\nhi", id="the-same-host-twice"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", id="no-host"),
        pytest.param(
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length-then-chunked",
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            id="chunked-then-length",
        ),
        pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", id="two-lengths"),
        pytest.param(HEAD + b"Content-Length: 2, 2\r\n\r\nhi", id="list-of-lengths"),
        pytest.param(HEAD + b"Content-Length: +4\r\n\r\nabcd", id="signed-length"),
        pytest.param(HEAD + b"Content-Length: 0x4\r\n\r\nabcd", id="hex-length"),
        pytest.param(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", id="length-past-64-bits"),
        pytest.param(b"POST / HTTP/1.1\nHost: relay\n\n", id="bare-lf"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: relay\nX: y\r\n\r\n", id="bare-lf-after-a-header"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: relay\rX: y\r\n\r\n", id="bare-cr"),
        pytest.param(HEAD + b"X: y\r\n z\r\n\r\n", id="obs-fold"),
        pytest.param(b"POST / HTTP/1.1\r\n Host: relay\r\n\r\n", id="fold-before-the-first-header"),
        pytest.param(b"POST / HTTP/1.1\r\nHost : relay\r\n\r\n", id="space-before-colon"),
        pytest.param(HEAD + b"X: a\x00b\r\n\r\n", id="nul-in-value"),
        pytest.param(HEAD + b"X\x00: a\r\n\r\n", id="nul-in-name"),
        pytest.param(HEAD + b"X: a\x1bb\r\n\r\n", id="escape-in-value"),
        pytest.param(HEAD + b"X\r\n\r\n", id="no-colon"),
        pytest.param(chunked(b"zz\r\nhi\r\n0\r\n\r\n"), id="chunk-size-not-hex"),
        pytest.param(chunked(b"+2\r\nhi\r\n0\r\n\r\n"), id="chunk-size-signed"),
        pytest.param(chunked(b"0x2\r\nhi\r\n0\r\n\r\n"), id="chunk-size-0x"),
        pytest.param(chunked(b"2\nhi\r\n0\r\n\r\n"), id="chunk-size-bare-lf"),
        pytest.param(chunked(b"2;a\nb\r\nhi\r\n0\r\n\r\n"), id="chunk-extension-bare-lf"),
        pytest.param(chunked(b"2\r\nhi0\r\n\r\n"), id="chunk-longer-than-said"),
        pytest.param(chunked(b"fffffffffffffffff\r\nhi\r\n"), id="chunk-size-past-64-bits"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="coding-before-chunked"),
        pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="unknown-coding"),
        pytest.param(HEAD + b"Transfer-Encoding: identity\r\n\r\nhi", id="identity"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="chunked-twice",
        ),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked-in-1.0"),
        pytest.param(b"POST / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", id="two-hosts-in-1.0"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: relay\r\n\r\n", id="http-2.0-as-text"),
        pytest.param(b"GET /\r\n\r\n", id="http-0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2-preface"),
        pytest.param(b"FOO / HTTP/1.1\r\nHost: relay\r\n\r\n", id="unknown-method"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: relay\r\n\r\n", id="space-in-target"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: relay\r\n\r\n", id="raw-byte-in-target"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: relay\r\n\r\n", id="asterisk"),
        pytest.param(
            b"GET http://evil/hooks/x HTTP/1.1\r\nHost: relay\r\n\r\n", id="absolute-of-another-host"
        ),
        pytest.param(b"GET http://relay HTTP/1.1\r\nHost: relay\r\n\r\n", id="absolute-without-path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls"),
    ],
)
async def test_malformed_is_400_and_closed(request_bytes: bytes) -> None:
    """What could be read in two ways is refused once, and its connection ends with it."""
    async with serving() as server:
        answer = await server.exchange(request_bytes + PLAIN)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer
    assert [status for status, _ in server.refused] == [400]
    assert all(error.reason == "disconnected" for error in server.errors)


async def test_a_plain_request_passes() -> None:
    """An ordinary request reaches the app as it was sent, and the connection lives on."""
    async with serving() as server:
        reader, writer = await server.connect()
        for _ in range(3):
            writer.write(PLAIN)
            assert await response(reader) == (200, b"hi")
    assert server.refused == []
    assert server.seen[0]["headers"] == [(b"host", b"relay"), (b"content-length", b"2")]
    assert server.seen[0]["raw_path"] == b"/hooks/x"


async def test_a_request_in_single_bytes_passes() -> None:
    """How a request was cut into packets does not matter."""
    async with serving() as server:
        reader, writer = await server.connect()
        for number in range(len(PLAIN)):
            writer.write(PLAIN[number : number + 1])
            await asyncio.sleep(0)
        assert await response(reader) == (200, b"hi")


async def test_http_1_0_without_host_passes() -> None:
    """HTTP/1.0 knows no Host."""
    async with serving() as server:
        answer = await server.exchange(b"POST /hooks/x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_absolute_form_of_the_same_host_passes() -> None:
    """A target with scheme and host is taken by its path."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"POST http://Relay/hooks/x?a=b HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\nhi")
        assert await response(reader) == (200, b"hi")
    assert server.seen[0]["path"] == "/hooks/x"
    assert server.seen[0]["query_string"] == b"a=b"


async def test_connect_is_405_and_closed() -> None:
    """Relay is no proxy."""
    async with serving() as server:
        answer = await server.exchange(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert server.refused == [(405, "connect")]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
async def test_upgrade_is_ignored(protocol: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A request that offers an upgrade is taken as it is, body and following requests included."""
    head = HEAD + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head + b"Content-Length: 2\r\n\r\nhi" + PLAIN)
        assert await response(reader) == (200, b"hi")
        assert await response(reader) == (200, b"hi")
        writer.write(head)
        await asyncio.sleep(0.02)
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n")
        assert await response(reader) == (200, b"yes")
    assert server.seen[0]["headers"] == [
        (b"host", b"relay"),
        (b"connection", b"Upgrade"),
        (b"upgrade", protocol),
        (b"content-length", b"2"),
    ]
    assert caplog.records == []


async def test_a_read_full_of_upgrades_is_no_recursion() -> None:
    """A read full of pipelined requests, each with an upgrade, is answered as far as they may wait."""
    one = b"GET / HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(one * 1500)
        answers = [await response(reader)]
        while answers[-1] == (200, b"") and len(answers) < 1500:
            answers.append(await response(reader))
        assert len(answers) > MAX_PIPELINED
        assert answers[-1] in {(200, b""), (503, b"")}


async def test_trailers_are_no_headers() -> None:
    """What follows the last chunk adds no header to the request."""
    async with serving() as server:
        server.hold.clear()
        reader, writer = await server.connect()
        writer.write(chunked(b"2\r\nhi\r\n0\r\nHost: other\r\nX-Signature: forged\r\n\r\n"))
        await asyncio.sleep(0.05)
        server.hold.set()
        assert await response(reader) == (200, b"hi")
    assert server.seen[0]["headers"] == [(b"host", b"relay"), (b"transfer-encoding", b"chunked")]


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent at once are answered one after another."""
    async with serving() as server:
        server.hold.clear()
        reader, writer = await server.connect()
        for number in range(5):
            writer.write(HEAD + b"Content-Length: 1\r\n\r\n%d" % number)
        await asyncio.sleep(0.05)
        server.hold.set()
        assert [await response(reader) for _ in range(5)] == [(200, b"%d" % number) for number in range(5)]


@pytest.mark.parametrize("broken", [b"nonsense\r\n\r\n", chunked(b"zz\r\n"), HEAD + b"Host: b\r\n\r\n"])
async def test_a_refusal_waits_behind_earlier_answers(broken: bytes) -> None:
    """An answer is never taken for that of another request: the 202 of the first comes first."""
    async with serving() as server:
        server.hold.clear()
        exchange = asyncio.create_task(server.exchange(PLAIN + PLAIN + broken))
        while not server.refused:  # noqa: ASYNC110 - the refusal is told by a plain call
            await asyncio.sleep(0.01)
        server.hold.set()
        answer = await exchange
    assert [part[:4] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200 ", b"200 ", b"400 "]
    assert len(server.seen) == 2


async def test_a_body_that_breaks_off_reaches_the_app_as_a_disconnect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chunk that is none, in the middle of a body, ends the request for app and sender at once."""
    async with serving() as server:
        monkeypatch.setattr(server.protocol, "linger", 60.0)
        reader, writer = await server.connect()
        writer.write(chunked(b"2\r\nhi\r\n"))
        await asyncio.sleep(0.02)
        writer.write(b"zz\r\n")
        assert (await response(reader))[0] == 400
        async with asyncio.timeout(3):
            while not server.errors:  # noqa: ASYNC110 - the app notes it when it learns of it
                await asyncio.sleep(0.01)
    assert [error.reason for error in server.errors] == ["disconnected"]
    assert server.budget.used == 0


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", id="one-long-header"),
        pytest.param(HEAD + b"X: a\r\n" * 12_000 + b"\r\n", id="many-short-headers"),
        pytest.param(b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: relay\r\n\r\n", id="long-target"),
        pytest.param(b"\r\n" * 40_000, id="empty-lines"),
    ],
)
async def test_headers_over_64_kib_are_431(head: bytes) -> None:
    """A head of more than 64 KiB is refused, whatever it is made of."""
    async with serving() as server:
        answer = await server.exchange(head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert server.refused == [(431, "headers_too_large")]
    assert server.seen == []


async def test_headers_just_under_64_kib_pass() -> None:
    """The limit cuts nobody off who keeps to it, be the body in the same packet or not."""
    head = HEAD + b"X: " + b"a" * 65_000 + b"\r\nContent-Length: 200000\r\n\r\n"
    async with serving() as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(head + b"b" * 200_000)
            assert await response(reader) == (200, b"b" * 200_000)
    assert server.refused == []


async def test_endless_headers_are_431_long_before() -> None:
    """100 MB of headers are not read to their end before the answer."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not server.refused and sent < 100_000_000:
                writer.write(b"X: " + b"a" * 10_000 + b"\r\n")
                sent += 10_000
                await writer.drain()
                await asyncio.sleep(0)
        assert (await reader.read(13)) == b"HTTP/1.1 431 "
    assert sent < 10_000_000


@pytest.mark.parametrize(
    "filler", [pytest.param(b"X: ", id="trailer"), pytest.param(b"5;", id="chunk-extension")]
)
async def test_framing_around_chunks_is_bounded(filler: bytes) -> None:
    """Trailers and chunk extensions are no way to send what no limit counts."""
    start = b"0\r\n" if filler == b"X: " else b""
    async with serving() as server:
        answer = await server.exchange(chunked(start + filler), *[b"a" * 50_000] * 4)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert server.refused == [(400, "framing")]


async def test_a_body_in_small_chunks_passes() -> None:
    """Chunks of one byte are silly, and allowed."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(chunked(b""))
        for _ in range(10):
            writer.write(b"1\r\nx\r\n" * 4_000)
            await writer.drain()
            await asyncio.sleep(0.01)  # in one read it would be no test
        writer.write(b"0\r\n\r\n")
        assert await response(reader) == (200, b"x" * 40_000)


async def test_slow_headers_are_408() -> None:
    """Headers that drip end at their deadline, however often a byte comes."""
    async with serving(header_deadline=0.3) as server:
        answer = await server.exchange(HEAD, *[b"X"] * 12, pause=0.05)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.refused == [(408, "slow_headers")]


@pytest.mark.parametrize("parts", [(), (PLAIN,)])
async def test_an_idle_connection_ends_without_a_word(parts: tuple[bytes, ...]) -> None:
    """Who sends nothing is neither answered nor counted."""
    async with serving(header_deadline=0.2) as server:
        server.server.config.timeout_keep_alive = 1
        answer = await server.exchange(*parts)
    assert answer.count(b"HTTP/1.1") == len(parts)
    assert server.refused == []


async def test_empty_lines_do_not_keep_a_connection() -> None:
    """Line ends between requests are allowed, and buy no time."""
    async with serving(header_deadline=0.3) as server:
        answer = await server.exchange(PLAIN, *[b"\r\n"] * 12, pause=0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 408 ") == 1


async def test_the_second_request_has_a_deadline_too() -> None:
    """Half a request after a whole one runs out of time like the first would."""
    async with serving(header_deadline=0.3) as server:
        answer = await server.exchange(PLAIN, HEAD)
        assert [part[:4] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200 ", b"408 "]
        answer = await server.exchange(PLAIN + HEAD)
        assert [part[:4] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200 ", b"408 "]


async def test_a_slow_app_is_not_the_senders_fault() -> None:
    """The deadline of headers does not run while a request is worked on."""
    async with serving(header_deadline=0.2) as server:
        server.hold.clear()
        reader, writer = await server.connect()
        writer.write(PLAIN)
        await asyncio.sleep(0.5)
        server.hold.set()
        assert await response(reader) == (200, b"hi")


async def test_what_waits_unread_is_not_the_senders_fault_either() -> None:
    """While requests queue up, Relay stops reading; a head that it has not read is not late."""
    async with serving(header_deadline=1.0) as server:
        server.hold.clear()
        reader, writer = await server.connect()
        writer.write(PLAIN.replace(b"/hooks/x", b"/unread") + PLAIN + HEAD)
        await asyncio.sleep(0.1)
        writer.write(b"Content-Length: 2\r\n\r\nhi")
        await asyncio.sleep(1.5)
        server.hold.set()
        answers = [await response(reader) for _ in range(3)]
    assert answers == [(200, b"unread"), (200, b"hi"), (200, b"hi")]


async def test_slow_body_is_408() -> None:
    """A body that drips ends at its deadline, and what it held is given back."""
    async with serving(body_deadline=0.3) as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"Content-Length: 100\r\n\r\n")
        for _ in range(4):
            writer.write(b"a")
            await asyncio.sleep(0.02)
        assert await response(reader) == (408, b"slow_body")
    assert server.budget.used == 0


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is answered early may finish, but not for ever: the connection ends soon after."""
    async with serving() as server:
        monkeypatch.setattr(server.protocol, "linger", 0.2)
        head = b"POST /unread HTTP/1.1\r\nHost: relay\r\nContent-Length: 100\r\n\r\n"
        answer = await server.exchange(head, b"a", b"a")
    assert answer.endswith(b"unread")


async def test_who_finishes_in_time_may_go_on() -> None:
    """A body that was not read, but sent, leaves the connection usable."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"POST /unread HTTP/1.1\r\nHost: relay\r\nContent-Length: 4\r\n\r\na")
        assert await response(reader) == (200, b"unread")
        writer.write(b"bcd")
        await asyncio.sleep(0.02)
        writer.write(PLAIN)
        assert await response(reader) == (200, b"hi")


@pytest.mark.parametrize(
    "head",
    [HEAD + b"Content-Length: 1048577\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n"],
    ids=["declared", "chunked"],
)
async def test_a_body_over_the_limit_is_413_and_the_sender_sees_it(head: bytes) -> None:
    """The answer reaches a sender that is still sending."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head + b"a" * 1_048_577)
        assert await response(reader) == (413, b"too_large")
    assert server.budget.used == 0


async def test_expect_is_answered_only_if_the_body_is_wanted() -> None:
    """`100 Continue` asks for a body within the limit; above it, 413 comes instead."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert await response(reader) == (200, b"hi")
        await hang_up(writer)
        answer = await server.exchange(HEAD + b"Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer, "what follows would be taken for the body"


async def test_a_sender_that_leaves_is_a_disconnect() -> None:
    """Half a body and a closed connection end the request."""
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        await hang_up(writer)
        while not server.errors:  # noqa: ASYNC110 - the app notes it when it learns of it
            await asyncio.sleep(0.01)
    assert server.errors[0].reason == "disconnected"
    assert server.budget.used == 0


async def test_many_slow_senders_do_not_hinder_a_quick_one() -> None:
    """A few hundred sockets that say nothing or little leave room for one that speaks."""
    async with serving(header_deadline=2.0) as server:
        slow = [await server.connect() for _ in range(200)]
        for _, writer in slow[::2]:
            writer.write(HEAD)
        reader, writer = await server.connect()
        writer.write(PLAIN)
        assert await response(reader) == (200, b"hi")
        ends = await asyncio.gather(*(asyncio.wait_for(reader.read(), 8) for reader, _ in slow))
        assert all(end.startswith(b"HTTP/1.1 408 ") for end in ends[::2])
        assert set(ends[1::2]) == {b""}


async def test_a_sender_that_pipelines_without_end_hears_503() -> None:
    """What may wait is answered, then one 503 tells it to come again, and the connection ends."""
    async with serving() as server:
        server.hold.clear()
        asyncio.get_running_loop().call_later(0.3, server.hold.set)
        said = await server.exchange(PLAIN * 1000)
        assert said.count(b"HTTP/1.1 200") == MAX_PIPELINED + 1
        assert said.count(b"HTTP/1.1 503") == 1
        assert b"retry-after: 5" in said.rpartition(b"HTTP/1.1 503")[2]
        assert len(server.seen) == MAX_PIPELINED + 1
        assert server.refused == [(503, "pipelined")]


async def test_a_connection_that_takes_one_of_the_last_descriptors_gets_503() -> None:
    """Each of its requests, with Retry-After; what journal and downstreams need is left to them."""
    async with serving(crowded_from=0) as server:
        reader, writer = await server.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\nhi")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer
    assert server.seen == []
    assert server.refused == [(503, "descriptors")]
