"""What a server may say around the body of its answer, and while it was asked for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from relay.breaker import is_failure
from relay.egress import Egress, Result
from relay.egress.http.connections import ALL_HEADS, FREE_HEAD, LONGEST_HEAD, MOST_FRAMING
from relay.egress.http.transport import AiohttpTransport
from relay.limits import Budget
from relay.model import Outcome
from tests.unit.egress_helpers import OK, Server, attempt, listening, rules, saying

STATUS = b"HTTP/1.1 200 OK\r\n"
LINE = b"x: " + b"a" * 995 + b"\r\n"
CHUNKED = STATUS + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
TOO_LONG = "the head of the answer is longer than 64 KiB"
FRAMED = "more than 64 KiB of chunk extensions and trailers"


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """An egress as the service has it."""
    async with Egress(rules()) as egress:
        yield egress


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


def endless(head: bytes, line: bytes) -> Callable[..., Awaitable[None]]:
    """Say `line` again and again, until the client has had enough."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(head)
        while True:
            writer.write(line)
            await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("head", "line", "error"),
    [
        pytest.param(STATUS, b"x: " + b"a" * 60_000 + b"\r\n", TOO_LONG, id="long headers"),
        pytest.param(STATUS, LINE, TOO_LONG, id="headers"),
        pytest.param(STATUS, b"a: b\r\n" * 200, "the answer has too many headers", id="short headers"),
        pytest.param(STATUS + b"x: ", b"a" * 1000, TOO_LONG, id="one header"),
        pytest.param(b"HTTP/1.1 200 ", b"a" * 1000, TOO_LONG, id="the reason"),
        pytest.param(
            b"", b"HTTP/1.1 103 Early Hints\r\n" + LINE * 9 + b"\r\n", TOO_LONG, id="interim answers"
        ),
    ],
)
async def test_a_head_without_end_is_cut_off(egress: Egress, head: bytes, line: bytes, error: str) -> None:
    """Whatever it is made of, at most 64 KiB of it are read; it counts as a failure of the destination."""
    async with listening(endless(head, line)) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.status, result.error) == (Outcome.READ_ERROR, None, error)
    assert is_failure(result.outcome, result.status)


@pytest.mark.parametrize(
    ("head", "line"),
    [
        pytest.param(CHUNKED + b"0\r\n", LINE, id="trailers"),
        pytest.param(CHUNKED + b"0\r\n", b"x: " + b"a" * 60_000 + b"\r\n", id="long trailers"),
        pytest.param(CHUNKED + b"2;", b"a" * 1000, id="an extension"),
        pytest.param(CHUNKED, b"1;" + b"a" * 1000 + b"\r\nx\r\n", id="extensions"),
    ],
)
async def test_trailers_and_extensions_without_end_are_cut_off(
    egress: Egress, head: bytes, line: bytes
) -> None:
    """They are part of the body's transfer, so that the status decides, and a note says what was wrong."""
    async with listening(endless(head, line)) as server:
        result = await attempt(egress, server.url)
    assert (result.outcome, result.status) == (Outcome.DELIVERED, 200)
    assert result.note == f"response body: {FRAMED}"


@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_a_head_up_to_the_limit_is_taken(egress: Egress, pause: float) -> None:
    """The limit is exact, whether the head comes at once or in pieces, and with its body or before it."""
    end = b"content-length: 3\r\n\r\n"
    lines = LINE * ((LONGEST_HEAD - len(STATUS) - len(end)) // len(LINE))
    filling = LONGEST_HEAD - len(STATUS) - len(lines) - len(end) - len(b"y: \r\n")
    for more, error in ((0, None), (1, TOO_LONG)):
        head = STATUS + lines + b"y: " + b"a" * (filling + more) + b"\r\n" + end
        assert len(head) == LONGEST_HEAD + more
        pieces = (head + b"abc",) if not pause else (head[:30_000], head[30_000:], b"abc")
        async with listening(saying(*pieces, pause=pause)) as server:
            result = await attempt(egress, server.url)
        assert result.error == error
        if error is None:
            assert (result.response, result.note) == (b"abc", None)


async def test_a_body_of_small_chunks_is_whole(egress: Egress) -> None:
    """Framing that is longer than its body is none of a server's faults, up to the limit."""
    chunks = b"1\r\nx\r\n" * (MOST_FRAMING // 5 - 100)
    answer = STATUS + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\nt: 1\r\n\r\n"
    async with listening(saying(answer)) as server:
        result = await attempt(egress, server.url)
    assert (result.response, result.note) == (b"x" * 4096, None)


async def test_a_long_chunked_body_is_cut_as_any_other(egress: Egress) -> None:
    """What waits unread in the parser is no framing."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    async with listening(endless(STATUS + b"transfer-encoding: chunked\r\n\r\n", chunk * 8)) as server:
        result = await attempt(egress, server.url)
    assert result.response == b"x" * 4096
    assert result.note == "response body: more than 64 KiB, the rest was not read"


def heads_of(egress: Egress) -> Budget:
    """What the heads of all answers share."""
    assert isinstance(egress._transport, AiohttpTransport)
    return egress._transport._heads


async def waiting(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, says: bytes
) -> None:
    """Say the beginning of an answer, and no more."""
    await server.receive(reader)
    writer.write(says)
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("is_whole", [False, True])
async def test_the_heads_of_all_answers_have_one_limit(egress: Egress, *, is_whole: bool) -> None:
    """Unfinished or with a body that does not come: together they hold 16 MiB, and give them back."""
    said = STATUS + LINE * 60 + (b"content-length: 5\r\n\r\n" if is_whole else b"")
    error = f"the heads of all answers are longer than {ALL_HEADS >> 20} MiB"
    counted = len(said) - FREE_HEAD
    heads = heads_of(egress)
    heads.size = 10 * counted + 1
    async with listening(partial(waiting, says=said)) as server:
        tasks = [asyncio.create_task(attempt(egress, server.url, total=600)) for _ in range(11)]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (result,) = (task.result() for task in done)
        # Where the status came with the last piece it decides, and the error is a note.
        assert error in f"{result.error} {result.note}"
        await until(lambda: heads.used == 10 * counted)
        async with listening(saying(OK)) as other:  # short ones need no room
            assert (await attempt(egress, other.url)).outcome is Outcome.DELIVERED
        for task in left:
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: not heads.used)


async def test_a_long_head_leaves_nothing_behind(egress: Egress) -> None:
    """Its connection is closed after the answer, and its part of the limit is free."""
    answer = STATUS + LINE * 40 + b"content-length: 2\r\n\r\nok"
    async with listening(saying(answer)) as server:
        for _ in range(3):
            assert (await attempt(egress, server.url)).response == b"ok"
            await until(lambda: not heads_of(egress).used)
    assert server.connections == 3


@pytest.mark.parametrize("says", [b"HTTP/1.1 500 Late\r\ncontent-length: 0\r\n\r\n", b"\r\n" * 1000, b"a"])
async def test_what_comes_unasked_is_no_answer(egress: Egress, says: bytes) -> None:
    """A server that speaks while nothing is asked loses its connection; the next request gets its answer."""
    answered = asyncio.Event()

    async def unasked(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.receive(reader):
            writer.write(OK)
            await answered.wait()
            writer.write(says)
            await writer.drain()

    async with listening(unasked) as server:
        results: list[Result] = []
        for _ in range(3):
            answered.clear()
            results.append(await attempt(egress, server.url))
            answered.set()
            await until(lambda: not egress_holds_connection(egress))
    assert [(result.status, result.response) for result in results] == [(200, b"ok")] * 3
    assert server.connections == 3


def egress_holds_connection(egress: Egress) -> bool:
    """Whether a connection that could be used again is still open."""
    assert isinstance(egress._transport, AiohttpTransport)
    connector = egress._transport._direct
    assert connector is not None
    pools = connector.session.connector._conns.values()  # type: ignore[union-attr]
    return any(protocol.is_connected() for pool in pools for protocol, _ in pool)
