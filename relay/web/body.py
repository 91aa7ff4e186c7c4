"""Request bodies are read under a limit of size, of time, and of memory over all requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from types import coroutine
from typing import Any

from relay.errors import RequestRefused
from relay.process.body_memory import SMALL, BodyMemory

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

DEADLINE = 30.0
"""Seconds for a whole body."""

_RETRY_AFTER = 5


class BodyBudget:
    """Bytes that the bodies in receipt, or not stored yet, may hold together.

    What has arrived counts, not what was announced: else ten idle sockets that announce 25 MiB
    each would lock everyone out. The first 64 KiB of each body count apart from the rest, so that large
    ones leave room for small ones.
    """

    def __init__(self, memory: BodyMemory) -> None:
        self._small = memory.small_in_receipt
        self._large = memory.large_in_receipt

    @property
    def used(self) -> int:
        """Bytes that are counted now."""
        return self._small.used + self._large.used

    def take(self, count: int, *, held: int = 0) -> None:
        """Count bytes in, or refuse the request that brought them; `held` of its body are counted already."""
        small = min(held + count, SMALL) - min(held, SMALL)
        large = count - small
        if not self._small.take(small):
            raise _no_room()
        if large and not self._large.take(large, own=max(0, held - SMALL)):
            self._small.give(small)
            raise _no_room()

    def give(self, count: int) -> None:
        """Count out the bytes of one body."""
        self._small.give(min(count, SMALL))
        if count > SMALL:
            self._large.give(count - SMALL)


def _no_room() -> RequestRefused:
    return RequestRefused(503, "memory", retry_after=_RETRY_AFTER)


async def read_body(
    receive: Receive,
    *,
    limit: int,
    deadline: float = DEADLINE,
    declared: int | None = None,
    budget: BodyBudget,
) -> bytes:
    """Read a whole request body of at most `limit` bytes within `deadline` seconds.

    Raises RequestRefused: 413 `too_large` (before anything is read where `declared`, the
    Content-Length, says so), 408 `slow_body`, 503 `memory`, 400 `disconnected`.
    """
    if declared is not None and declared > limit:
        raise RequestRefused(413, "too_large")
    # Begun by hand: a body that is here already, as nearly all are, needs neither timer nor budget.
    steps = receive().__await__()
    try:
        waiting = next(steps)
    except StopIteration as done:
        message: Message = done.value
        if not message.get("more_body", False):
            return _chunk(message, limit)
        first: Awaitable[Message] = _given(message)
    else:
        first = _continued(steps, waiting)
    try:
        async with asyncio.timeout(deadline):
            return await _collect(first, receive, limit, budget)
    except TimeoutError:
        raise RequestRefused(408, "slow_body") from None


async def _collect(first: Awaitable[Message], receive: Receive, limit: int, budget: BodyBudget) -> bytes:
    # Not a list of pieces: what these leave in the heap stays with the process.
    body = bytearray()
    try:
        message = await first
        while True:
            chunk = _chunk(message, limit - len(body))
            budget.take(len(chunk), held=len(body))
            body += chunk
            if not message.get("more_body", False):
                return bytes(body)
            message = await receive()
    finally:
        budget.give(len(body))


def _chunk(message: Message, room: int) -> bytes:
    """The bytes of one message, or the refusal that it calls for."""
    if message["type"] == "http.disconnect":
        raise RequestRefused(400, "disconnected")
    chunk = bytes(message.get("body", b""))
    if len(chunk) > room:
        raise RequestRefused(413, "too_large")
    return chunk


async def _given(message: Message) -> Message:
    return message


@coroutine
def _continued(steps: Generator[Any, Any, Message], waiting: object) -> Generator[Any, Any, Message]:
    """Go on with an awaitable whose first step was taken by hand and waits for `waiting`."""
    try:
        while True:
            try:
                sent = yield waiting
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 - cancellation above all goes to who waits
                waiting = steps.throw(error)
            else:
                waiting = steps.send(sent)
    except StopIteration as done:
        message: Message = done.value
        return message
