"""What the parent of several workers and one of them say to each other: JSON, a line a message."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

_LONGEST = 64 * 1024 * 1024
"""Bytes of one message: metrics grow with sources and destinations."""


class Channel:
    """One end of a pair of sockets; the other end is another process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, end: socket.socket) -> Self:
        """A channel on this end of the pair, which is the channel's from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST))

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; to nobody, where the other side is gone."""
        if not self._writer.is_closing():  # uvloop refuses to write then
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side is gone, or says what is none."""
        try:
            line = await self._reader.readline()
            message: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return message

    async def close(self) -> None:
        """Let go of this end."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
