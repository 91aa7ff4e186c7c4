"""The limit: a bare ASGI function on uvicorn that answers, forwards with aiohttp, and keeps nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Message = MutableMapping[str, Any]
TARGET = os.environ["BENCH_TARGET"]
HEADERS = {"Content-Type": "application/json"}
ACCEPTED = b'{"ok":true}'


class Forwarder:
    """The ASGI application; one aiohttp session, and one task per event."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer 202 to every request, and forward its body meanwhile."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        task = asyncio.create_task(self._forward(body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ACCEPTED))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": ACCEPTED})

    async def _forward(self, body: bytes) -> None:
        async with self._session.post(TARGET, data=body, headers=HEADERS) as answer:
            await answer.read()

    async def _lifespan(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        await receive()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    uvicorn.run(
        Forwarder(),
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
