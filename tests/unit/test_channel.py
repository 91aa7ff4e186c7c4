"""What the parent of several workers and one of them say to each other."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from relay.web.worker_channel import Channel


def test_words_to_who_is_gone_are_lost_without_a_fault() -> None:
    """A worker says its last metrics also when its parent was killed while it drained."""

    async def speak() -> None:
        ours, theirs = socket.socketpair()
        channel = await Channel.on(ours)
        theirs.close()
        assert await channel.receive() is None
        for _ in range(3):
            channel.send({"families": []})
            await asyncio.sleep(0.01)
        await channel.close()
        channel.send({"families": []})

    uvloop.run(speak())
