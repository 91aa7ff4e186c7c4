"""Attempts over real sockets: what goes out byte for byte, and every way in which an answer can fail."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from relay.egress import Egress, Result
from relay.model import Headers, Outcome
from tests.unit.egress_helpers import OK, OWN, Server, answering, attempt, listening, resetting, rules, saying


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """An egress as the service has it."""
    async with Egress(rules()) as egress:
        yield egress


async def test_nothing_is_added_changed_or_reordered(egress: Egress) -> None:
    """The bytes on the wire are the given headers in their order, framed by Host and the length alone."""
    headers: Headers = (
        (b"x-b", b"1"),
        (b"user-agent", b"GitHub-Hookshot/1"),
        (b"x-a", b""),
        (b"x-b", "Zoë\t".encode() + b'"q"'),
        (b"x-b", b"1"),
    )
    async with listening(answering(OK)) as server:
        result = await attempt(
            egress, f"{server.url}/a%2Fb//c;d?x=%20+é&x=1", headers=headers, body=b"\x00\xff"
        )
    assert result.outcome is Outcome.DELIVERED
    assert server.bodies == [b"\x00\xff"]
    lines = server.heads[0].split(b"\r\n")
    host = b"host: 127.0.0.1:%d" % server.port
    assert lines.pop(lines.index(host)) == host
    lines = [line for line in lines if not line.startswith(OWN)]
    assert lines == [
        b"POST /a%2Fb//c;d?x=%20+%C3%A9&x=1 HTTP/1.1",
        *(name + b": " + value for name, value in headers),
        b"content-length: 2",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("POST", b"", b"0"),
        ("PUT", b"", b"0"),
        ("GET", b"", None),
        ("GET", b"abc", b"3"),
        ("DELETE", b"abc", b"3"),
        ("QUERY", b"abc", b"3"),
        ("POST", b"x" * 3_000_000, b"3000000"),
    ],
)
async def test_the_length_is_the_bodys(
    egress: Egress, method: str, body: bytes, length: bytes | None
) -> None:
    """A body goes out whole under any method, with its length; no type is made up for it."""
    async with listening(answering(OK)) as server:
        result = await attempt(egress, server.url, method=method, body=body)
    assert result.outcome is Outcome.DELIVERED
    assert server.bodies == [body]
    host = b"host: 127.0.0.1:%d" % server.port
    sent = {line for line in server.heads[0].split(b"\r\n")[1:-2] if not line.startswith(OWN)}
    assert sent == ({host} if length is None else {host, b"content-length: " + length})


async def test_a_destination_may_name_its_host(egress: Egress) -> None:
    """A Host of the destination's own is sent in place of the URL's."""
    async with listening(answering(OK)) as server:
        await attempt(egress, server.url, headers=((b"host", b"inside.example"),))
    assert server.heads[0].lower().count(b"host:") == 1
    assert b"host: inside.example\r\n" in server.heads[0]


async def test_cookies_are_not_kept(egress: Egress) -> None:
    """What one answer sets is not sent with the next request."""
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b; Path=/\r\ncontent-length: 0\r\n\r\n"
    async with listening(answering(answer)) as server:
        await attempt(egress, server.url.replace("127.0.0.1", "localhost"))
        await attempt(egress, server.url.replace("127.0.0.1", "localhost"))
    assert len(server.heads) == 2
    assert b"cookie" not in server.heads[1].lower()


async def test_a_connection_is_used_again(egress: Egress) -> None:
    """An answer that was read to its end leaves its connection to the next attempt."""
    async with listening(answering(OK)) as server:
        for _ in range(5):
            assert (await attempt(egress, server.url)).response == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE", "POST"])
async def test_a_request_on_a_broken_connection_is_not_sent_again(egress: Egress, method: str) -> None:
    """The client repeats nothing by itself, not even what HTTP calls idempotent."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(OK)
        await server.receive(reader)

    async with listening(handle) as server:
        assert (await attempt(egress, server.url, method=method)).outcome is Outcome.DELIVERED
        result = await attempt(egress, server.url, method=method)
    assert result.outcome is Outcome.READ_ERROR
    assert result.error == "the connection was closed without an answer"
    assert (len(server.heads), server.connections) == (2, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(egress: Egress, status: int) -> None:
    """A redirect is one request and a status; where it points nobody asks."""
    async with listening(answering(OK)) as inside:
        answer = f"HTTP/1.1 {status} Go\r\nlocation: {inside.url}/latest\r\ncontent-length: 0\r\n\r\n"
        async with listening(answering(answer.encode())) as server:
            result = await attempt(egress, server.url)
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, status)
    assert (len(server.heads), inside.connections) == (1, 0)


async def test_interim_answers_are_passed_over(egress: Egress) -> None:
    """1xx answers are none; the one after them counts."""
    async with listening(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)) as server:
        assert (await attempt(egress, server.url)).status == 200


async def test_interim_answers_without_end_are_cut_off(egress: Egress) -> None:
    """A server that only ever says 1xx is left at once, not at the deadline, and holds nobody up."""

    async def flood(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
            await writer.drain()

    async with listening(flood) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.error) == (Outcome.READ_ERROR, "more than 32 interim answers")


async def test_headers_that_drip_end_in_a_timeout(egress: Egress) -> None:
    """A receiver that never gets its headers done is cut off at the deadline."""
    async with listening(saying(*(b"%c" % byte for byte in OK), pause=0.1)) as server:
        result = await attempt(egress, server.url, total=0.5)
    assert (result.outcome, result.error) == (Outcome.TIMEOUT, "not finished within 0.5 s")


async def test_a_body_that_drips_after_a_200_is_delivered(egress: Egress) -> None:
    """Once the status is in it decides; the body is what came by the deadline, and the note says so."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    async with listening(saying(head, *[b"a"] * 1000, pause=0.1)) as server:
        result = await attempt(egress, server.url, total=0.7)
    assert (result.outcome, result.status, result.error) == (Outcome.DELIVERED, 200, None)
    assert result.note == "response body: not finished within 0.7 s"
    assert 0 < len(result.response) < 10
    assert set(result.response) == {ord("a")}


@pytest.mark.parametrize(
    "body", [b"content-length: 10\r\n\r\nhalf", b"transfer-encoding: chunked\r\n\r\n5\r\nhalf"]
)
@pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.DELIVERED), (500, Outcome.HTTP_STATUS)])
async def test_a_body_that_breaks_off_leaves_the_status(
    egress: Egress, status: int, outcome: Outcome, body: bytes
) -> None:
    """A body that ends before its end is a note beside the outcome."""
    async with listening(saying(b"HTTP/1.1 %d X\r\n" % status + body)) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.status) == (outcome, status)
    assert result.response in {b"", b"half"}
    assert result.note is not None
    assert result.note.startswith("response body: ")


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nx: y\r\n"])
async def test_a_reset_before_the_headers_is_a_read_error(egress: Egress, before: bytes) -> None:
    """A connection that breaks before status and headers are in brought no answer."""
    async with listening(resetting(before)) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.status) == (Outcome.READ_ERROR, None)
    assert result.error


async def test_an_answer_that_is_no_http_is_a_read_error(egress: Egress) -> None:
    """Bytes that are no HTTP are no answer, and none of them get into the error."""
    async with listening(saying(b"SSH-2.0-hush\r\n\r\n")) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.error) == (Outcome.READ_ERROR, "the answer is no HTTP")


async def test_resets_leak_no_descriptor(egress: Egress) -> None:
    """Connections that break in headers or body are closed on this side too."""

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    parts = (b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    for part in parts:
        async with listening(resetting(part)) as server:
            await attempt(egress, server.url)
            await asyncio.sleep(0.05)
            before = open_files()
            for _ in range(5):
                await asyncio.gather(*(attempt(egress, server.url) for _ in range(40)))
            await asyncio.sleep(0.05)
            assert open_files() <= before + 2


async def test_cancelled_attempts_leave_nothing_behind(egress: Egress) -> None:
    """After many cancelled attempts the next ones succeed."""
    hanging = saying(OK, pause=3600)
    async with listening(hanging) as stuck, listening(answering(OK)) as server:
        tasks = [asyncio.create_task(attempt(egress, stuck.url)) for _ in range(100)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        results = await asyncio.gather(*(attempt(egress, server.url) for _ in range(50)))
    assert {result.outcome for result in results} == {Outcome.DELIVERED}


async def endless(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, head: bytes, chunk: bytes
) -> None:
    """Answer with a body that has no end, as fast as it is taken."""
    await server.receive(reader)
    writer.write(head)
    for _ in range(10_000):
        writer.write(chunk)
        server.bodies.append(chunk)
        await writer.drain()


async def bounded(egress: Egress, head: bytes, chunk: bytes) -> Result:
    """Try a receiver whose body has no end, and see that what it takes from memory has."""
    async with listening(partial(endless, head=head, chunk=chunk)) as server:
        tracemalloc.start()
        result = await attempt(egress, server.url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(map(len, server.bodies)) < 20_000_000
    assert peak < 20_000_000
    assert (result.outcome, result.status) == (Outcome.DELIVERED, 200)
    assert result.note == "response body: more than 64 KiB, the rest was not read"
    return result


async def test_a_large_body_goes_out_without_a_copy(egress: Egress) -> None:
    """What an attempt adds to the memory of its event's body is some pieces of it."""
    body = os.urandom(1024) * 8 * 1024

    async def answer_early(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async with listening(answer_early) as server:
        tracemalloc.start()
        result = await attempt(egress, server.url, body=body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.outcome is Outcome.DELIVERED
    assert peak < len(body) / 2


async def test_an_endless_body_is_cut(egress: Egress) -> None:
    """At most 64 KiB of an answer are read and 4 KiB kept; then the connection is closed."""
    result = await bounded(egress, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536)
    assert result.response == b"x" * 4096


async def test_a_gzip_bomb_is_not_unpacked(egress: Egress) -> None:
    """A compressed body is counted and kept as it came."""
    bomb = gzip.compress(bytes(100_000_000), compresslevel=1)
    result = await bounded(
        egress, b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9999999999\r\n\r\n", bomb
    )
    assert result.response == bomb[:4096]


async def test_a_body_of_64_kib_is_read_to_its_end(egress: Egress) -> None:
    """The limit itself is no excess: nothing is noted, and the connection is used again."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n" + b"x" * 65_536
    async with listening(answering(answer)) as server:
        for _ in range(2):
            result = await attempt(egress, server.url)
            assert (result.note, result.response) == (None, b"x" * 4096)
    assert server.connections == 1


async def test_a_closed_port_is_a_connect_error(egress: Egress) -> None:
    """Nobody listening is a connect error that names host and port, and the reason, and not the URL."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = await attempt(egress, f"http://u:hush@127.0.0.1:{port}/hush?hush")
    assert result.outcome is Outcome.CONNECT_ERROR
    assert result.error == f"127.0.0.1:{port}: Connection refused"


async def test_a_connection_that_is_not_accepted_times_out(egress: Egress) -> None:
    """The deadline on connecting ends the attempt before the one on the whole."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = await attempt(egress, url, connect=0.2, total=30.0)
    assert (result.outcome, result.error) == (Outcome.TIMEOUT, "connect timeout")


async def test_a_server_that_answers_before_it_has_read_is_heard(egress: Egress) -> None:
    """An early refusal of a large body is its status, and not a broken pipe."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with listening(handle) as server:
        result = await attempt(egress, server.url, body=os.urandom(1024) * 8192)
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, 413)


async def test_large_headers_of_an_answer_are_read(egress: Egress) -> None:
    """An answer whose headers are long, as policies are, is an answer."""
    answer = (
        b"HTTP/1.1 200 OK\r\ncontent-security-policy: " + b"x" * 30_000 + b"\r\ncontent-length: 0\r\n\r\n"
    )
    async with listening(answering(answer)) as server:
        assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
