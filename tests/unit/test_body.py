"""Bodies are read under limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from relay.errors import RequestRefused
from relay.process.body_memory import BodyMemory
from relay.web.body import BodyBudget, Message, read_body


class Sender:
    """Hands out messages as a server does; None is a pause, and after the last it stays silent."""

    def __init__(self, messages: Iterable[dict[str, Any] | None]) -> None:
        self._messages = iter(messages)
        self.asked = 0

    async def receive(self) -> Message:
        """The next message."""
        self.asked += 1
        for message in self._messages:
            if message is not None:
                return message
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()
        raise AssertionError


def chunk(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """One message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE: dict[str, Any] = {"type": "http.disconnect"}


async def read(
    *messages: dict[str, Any] | None,
    limit: int = 10,
    deadline: float = 5.0,
    declared: int | None = None,
    budget: BodyBudget | None = None,
) -> bytes:
    """Read a body made of these messages; the budget must be whole again in the end."""
    budget = budget if budget is not None else BodyBudget(BodyMemory())
    before = budget.used
    try:
        return await read_body(
            Sender(messages).receive, limit=limit, deadline=deadline, declared=declared, budget=budget
        )
    finally:
        assert budget.used == before


async def refusal(*messages: dict[str, Any] | None, **options: Any) -> RequestRefused:
    """The refusal that these messages end in."""
    with pytest.raises(RequestRefused) as caught:
        await read(*messages, **options)
    return caught.value


@pytest.mark.parametrize(
    "messages",
    [
        (chunk(b"hello"),),
        (None, chunk(b"hello")),
        (chunk(b"he", more=True), chunk(b"llo")),
        (None, chunk(b"he", more=True), None, chunk(b"llo", more=True), chunk(b"")),
        (chunk(b"", more=True), chunk(b"hello")),
    ],
)
async def test_a_body_is_whole_however_it_comes(messages: tuple[dict[str, Any] | None, ...]) -> None:
    """Pauses and pieces do not show in the result."""
    assert await read(*messages) == b"hello"


async def test_a_body_that_is_there_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case costs no deadline."""
    monkeypatch.setattr(asyncio, "timeout", None)
    assert await read(chunk(b"hello")) == b"hello"


async def test_declared_too_large_is_refused_unread() -> None:
    """Content-Length over the limit is enough to say no."""
    sender = Sender([chunk(b"x")])
    with pytest.raises(RequestRefused) as caught:
        await read_body(sender.receive, limit=10, declared=11, budget=BodyBudget(BodyMemory()))
    assert (caught.value.status, caught.value.reason) == (413, "too_large")
    assert sender.asked == 0


@pytest.mark.parametrize(
    "messages",
    [(chunk(b"x" * 11),), (chunk(b"x" * 6, more=True), chunk(b"x" * 5, more=True)), (None, chunk(b"x" * 11))],
)
async def test_received_too_large_is_refused(messages: tuple[dict[str, Any] | None, ...]) -> None:
    """Bytes over the limit are refused as soon as they come."""
    refused = await refusal(*messages)
    assert (refused.status, refused.reason) == (413, "too_large")


async def test_exactly_the_limit_passes() -> None:
    """The limit itself is allowed."""
    assert await read(chunk(b"x" * 10), declared=10) == b"x" * 10
    assert await read(chunk(b"x" * 5, more=True), chunk(b"x" * 5)) == b"x" * 10


@pytest.mark.parametrize("messages", [(), (chunk(b"x", more=True),), (None, chunk(b"x", more=True))])
async def test_a_slow_body_is_408(messages: tuple[dict[str, Any] | None, ...]) -> None:
    """A body that is not whole by its deadline is refused."""
    refused = await refusal(*messages, deadline=0.05)
    assert (refused.status, refused.reason) == (408, "slow_body")


@pytest.mark.parametrize("messages", [(GONE,), (None, GONE), (chunk(b"x", more=True), GONE)])
async def test_a_sender_that_left_is_told_apart(messages: tuple[dict[str, Any] | None, ...]) -> None:
    """A connection that ended is no empty body."""
    refused = await refusal(*messages)
    assert (refused.status, refused.reason) == (400, "disconnected")


async def test_a_used_up_budget_is_503_with_retry_after() -> None:
    """What all bodies in receipt hold together has a limit; the sender is asked to come again."""
    budget = BodyBudget(BodyMemory(small_in_receipt=8, shared=0))
    budget.take(4)
    refused = await refusal(chunk(b"xxx", more=True), chunk(b"xx", more=True), budget=budget)
    assert (refused.status, refused.reason) == (503, "memory")
    assert refused.retry_after is not None


async def test_cancellation_gives_the_budget_back() -> None:
    """A handler that is cancelled in mid-body leaves nothing counted, and is cancelled indeed."""
    budget = BodyBudget(BodyMemory())
    task = asyncio.create_task(
        read_body(Sender([None, chunk(b"xx", more=True)]).receive, limit=10, budget=budget)
    )
    while not budget.used:  # noqa: ASYNC110 - there is nothing to wait for but the count
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.used == 0


async def test_cancellation_before_the_first_byte() -> None:
    """A handler that is cancelled while it waits for the first byte is cancelled."""
    task = asyncio.create_task(read_body(Sender([]).receive, limit=10, budget=BodyBudget(BodyMemory())))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_reaches_who_was_waiting() -> None:
    """The server's own `receive` is told, though its first step was taken by hand."""
    told: list[str] = []

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        raise AssertionError

    with pytest.raises(RequestRefused):
        await read_body(receive, limit=10, deadline=0.02, budget=BodyBudget(BodyMemory()))
    assert told == ["cancelled"]
