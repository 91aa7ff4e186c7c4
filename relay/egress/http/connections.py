"""aiohttp's connections, with bounds on what a server may say around the body of its answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

from relay.egress.http.errors import RefusedAnswerError
from relay.limits import Budget

LONGEST_HEAD: Final = 64 * 1024
"""Bytes of one answer before its body: status line, headers, and interim answers before them."""

MOST_FRAMING: Final = 64 * 1024
"""Bytes after the head of one answer that are no body: lengths of chunks, their extensions, trailers."""

ALL_HEADS: Final = 16 * 1024 * 1024
"""Bytes of the heads of all answers at one time, but for the first `FREE_HEAD` of each."""

FREE_HEAD: Final = 8 * 1024
"""Nearly all heads are shorter; so no server's long ones are in the way of the others' answers."""

MOST_HEADERS: Final = 256
"""Each takes some 300 bytes more of memory than it has."""

MOST_INTERIM: Final = 32
"""Interim answers (RFC 9110 15.2) before the answer: thousands of them fit into `LONGEST_HEAD`."""

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101


class Connector(aiohttp.TCPConnector):
    """Makes connections of the kind below; `heads` is what all of them share."""

    def __init__(self, *, heads: Budget, **options: Any) -> None:
        super().__init__(**options)
        made: Callable[..., ResponseHandler] = _Connection
        self._factory = functools.partial(made, loop=self._loop, heads=heads)


class _Connection(ResponseHandler):
    """Passes answers on, and closes itself where one is too much, or comes unasked.

    Interim answers, which nobody waits for, are counted and dropped. aiohttp has limits for a line and
    for the number of headers, and none for all of them, for trailers, or for what comes while nothing
    is asked; it would give that to the next request as its answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, heads: Budget) -> None:
        super().__init__(loop)
        self._heads = heads
        self._came = 0
        self._counted = 0
        self._is_to_connect = False
        self._interim = 0
        self._body: aiohttp.StreamReader | None = None
        self._refused: RefusedAnswerError | None = None

    def set_response_params(self, **options: Any) -> None:
        """Begin to wait for the answer to the next request."""
        self._forget_answer()
        # A proxy's answer: TLS goes on over its transport, and nobody hears of the end of this object.
        self._is_to_connect = "max_headers" not in options
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take what the server says."""
        room = LONGEST_HEAD - self._came
        if self._body is None and len(data) > room:
            # The end of the head may be in this piece, and its body behind it.
            self._pass_on(data[:room])
            data = data[room:]
            if self._body is None:
                self._refuse(f"the head of the answer is longer than {LONGEST_HEAD // 1024} KiB")
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self._refused is not None:
            return
        if self._body is not None and data and self._body.is_eof():
            self._refuse("the server went on after the end of its answer")
            return
        in_head = self._body is None
        self._came += len(data)
        super().data_received(data)
        if in_head:
            if self._came > FREE_HEAD:
                self._count_head()
        elif not self._reading_paused and self._around_body() > LONGEST_HEAD + MOST_FRAMING:
            self._refuse(f"more than {MOST_FRAMING // 1024} KiB of chunk extensions and trailers")

    def _around_body(self) -> int:
        """Bytes of the answer that are no body; while reading is paused, some of these wait in the parser."""
        return self._came - (0 if self._body is None else self._body.total_bytes)

    def _count_head(self) -> None:
        """Count the part of the head that is not free, until the connection is closed."""
        more = min(LONGEST_HEAD, self._around_body()) - FREE_HEAD - self._counted
        if more <= 0 or self._is_to_connect:
            return
        if self._heads.take(more):
            self._counted += more
            self.force_close()  # after the answer; a connection in waiting would still hold its head
        else:
            self._refuse(f"the heads of all answers are longer than {ALL_HEADS // 1024 // 1024} MiB")

    def feed_data(self, data: tuple[RawResponseMessage, Any], size: int = 0) -> None:
        """Take an answer from the parser."""
        message, body = data
        if message.code in _INTERIM and message.code != _SWITCHING_PROTOCOLS:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self._refuse(f"more than {MOST_INTERIM} interim answers")
        elif self._body is not None:
            self._refuse("a second answer, for which nothing was asked")
        else:
            self._body = body
            super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who waits; where the answer was refused, that is why the connection is lost."""
        super().connection_lost(exc)
        if self._refused is not None:
            self._tell(self._refused)
        self._forget_answer()

    def _refuse(self, why: str) -> None:
        """Close the connection; whoever waits for the answer, or for the rest of its body, hears why."""
        if self._refused is not None:
            return
        self._refused = RefusedAnswerError(why)
        self._tell(self._refused)
        self._give_back()
        if self.transport is not None:
            self.transport.abort()

    def _tell(self, error: RefusedAnswerError) -> None:
        if self._body is None:
            self.set_exception(error)
        elif not self._body.is_eof():
            self._body.set_exception(error)
        self.force_close()

    def _forget_answer(self) -> None:
        if self._counted:
            self._give_back()
        self._came = self._interim = 0
        self._body = None

    def _give_back(self) -> None:
        self._heads.give(self._counted)
        self._counted = 0
