"""uvicorn's HTTP protocol with what it lacks: deadlines, a limit for headers, one way to frame."""

from __future__ import annotations

import asyncio
import math
import re
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, ClassVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

Refused = Callable[[int, str, str | None], None]
"""Called with status, reason and the peer's address for each request refused before the app saw it."""

HEADER_DEADLINE = 10.0
"""Seconds for a request's headers, from the connection or from where the last request ended."""

MAX_HEADERS = 64 * 1024
"""Bytes of one request's head, request line included."""

LINGER = 3.0
"""Seconds in which a refused sender may finish what it is sending.

Closing at once would reset the connection, and the sender would see that instead of the answer.
"""

CROWDED_DEADLINE = 1.0
"""Seconds for a head, and for reading the 503, on a connection that takes one of the last descriptors."""

WRITE_DEADLINE = 5.0
"""Seconds in which a sender must begin to read answers that no longer fit into the buffers.

The first attempts of an event follow its answer, and their slots are taken meanwhile.
"""

MAX_PIPELINED = 64
"""Requests that may wait behind one on its connection; each costs far more memory than it has bytes."""

_FRAMING_ROOM = 64 * 1024
_FRAMING_PER_CHUNK = 64
"""Bytes a chunked body may spend on framing: extensions and trailers have no other limit."""

# Not by `urlsplit`, which remembers the last 128 URLs however long they are.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)/", re.IGNORECASE)

_MAPPED = "::ffff:"
"""Before an IPv4 address, where a socket of both families takes the connection."""


class _Refusal(Exception):
    """Raised inside the parser's callbacks; httptools hands it on as the context of its own."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class IngressProtocol(HttpToolsProtocol):
    """One connection to the ingress.

    A head is what comes before a body: the parser is either in a head (or between two requests)
    or in a body, and `_in_body` says which. All limits hang on that.
    """

    header_deadline: float = HEADER_DEADLINE
    linger: float = LINGER
    crowded_from: ClassVar[float] = math.inf
    write_deadline: ClassVar[float] = WRITE_DEADLINE

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timer: TimerHandle | None = None
        self._unread: TimerHandle | None = None
        self._is_crowded = False
        self._in_body = False
        self._head_begun = False
        self._head_size = 0
        self._fed = 0
        self._framing = 0
        self._messages = 0
        self._hosts = 0
        self._codings = 0
        self._upgrading = False
        self._original: list[tuple[bytes, bytes]] | None = None
        self._refusal: _Refusal | None = None
        self._answered = False
        self._active: RequestResponseCycle | None = None

    @staticmethod
    def refused(status: int, reason: str, remote: str | None) -> None:
        """Hear of a request that was refused before the app saw it."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if self.client is not None and self.client[0].startswith(_MAPPED):
            self.client = (self.client[0].removeprefix(_MAPPED), self.client[1])
        self._is_crowded = transport.get_extra_info("socket").fileno() >= self.crowded_from
        if self._is_crowded:
            self.header_deadline = self.linger = CROWDED_DEADLINE
        self._timer = self.loop.call_later(self.header_deadline, self._expired)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell the request under way; uvicorn tells the newest, which may wait."""
        self._disarm()
        self._forget_unread()
        super().connection_lost(exc)
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()

    def pause_writing(self) -> None:
        """Wait for a sender that does not read its answers, but not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.write_deadline, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it reads again."""
        self._forget_unread()
        super().resume_writing()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see which limit applies to where it stands."""
        self._unset_keepalive_if_required()
        if self._refusal is not None:
            return  # read and dropped: see LINGER
        was_in_body, messages = self._in_body, self._messages
        self._fed = len(data)
        try:
            self._feed(data)
            if not self._in_body:
                self._check_head(was_in_body=was_in_body, fresh=messages != self._messages)
            elif was_in_body and messages == self._messages:
                self._check_framing()
            else:
                self._framing = 0
                self._disarm()  # the head is complete; the body's deadline is the app's
        except _Refusal as refusal:
            self._refuse(refusal)

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._parse_without_upgrade()
                else:
                    return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _Refusal):
                raise error.__context__ from None
            raise _Refusal(400, "malformed") from error

    def _parse_without_upgrade(self) -> None:
        """Parse the head again as one that asks for no upgrade, since Relay offers none.

        The parser ends a request with `Upgrade` after its head, and its body would be lost.
        """
        version = self.parser.get_http_version().encode()
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += (name, b": ", value, b"\r\n")
        head.append(b"\r\n")
        self._upgrading = False
        self._original = self.headers
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join(head))

    def _check_head(self, *, was_in_body: bool, fresh: bool) -> None:
        """The parser stands in a head or between requests: count what came, and see to the timer."""
        if fresh or was_in_body:
            # A head that began in the middle of this read; its share of the read is not known, and
            # one read (256 KiB at most) uncounted does no harm: on_headers_complete counts exactly.
            self._head_size = 1 if self._head_begun else 0
            self._disarm()
        else:
            self._head_size += self._fed
            if self._head_size > MAX_HEADERS:
                raise _Refusal(431, "headers_too_large")
        idle = self.cycle is None or self.cycle.response_complete
        if self._timer is None and (self._head_begun or idle):
            self._timer = self.loop.call_later(self.header_deadline, self._expired)

    def _check_framing(self) -> None:
        self._framing += self._fed
        if self._framing > _FRAMING_ROOM:
            raise _Refusal(400, "framing")

    def _expired(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is Relay that does not read; the sender cannot be late.
            self._timer = self.loop.call_later(self.header_deadline, self._expired)
        elif self._in_body or self._refusal is not None or not self._head_size:
            self.transport.close()
        else:
            self._refuse(_Refusal(408, "slow_headers"))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_begun = True
        self._hosts = self._codings = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; one that comes after the body (a trailer) is none."""
        if self._in_body:
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            self._codings += 1
            if value.strip().lower() != b"chunked":
                raise _Refusal(400, "transfer_encoding")
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check what the parser does not, and hand the request to the app."""
        if self._head_size + self._fed > MAX_HEADERS:
            self._count_head()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refusal(503, "pipelined")
        if self._is_crowded:
            raise _Refusal(503, "descriptors")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refusal(405, "connect")
            self.scope["method"] = self.parser.get_method().decode("ascii")
            self._upgrading = True
            return
        self._check_version_and_host()
        if not self.url.startswith(b"/"):
            self._check_target()
        if self._original is not None:
            self.headers[:] = self._original
            self._original = None
        super().on_headers_complete()
        if self.expect_100_continue:
            # Refused before its body was asked for, the sender may or may not send it.
            self.cycle.keep_alive = False
        self._in_body, self._head_begun = True, False
        self._head_size = self._framing = 0
        self._messages += 1

    def on_chunk_header(self) -> None:
        """Allow each chunk its line."""
        self._framing -= _FRAMING_PER_CHUNK

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, which is no framing."""
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless it is to be parsed again."""
        if self._upgrading:
            return
        super().on_message_complete()
        self._in_body = False

    def _should_upgrade(self) -> bool:
        """Never: Relay speaks HTTP only."""
        return False

    def _count_head(self) -> None:
        """Count the head that just ended; the read it came in may hold more than it."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEADERS:
            raise _Refusal(431, "headers_too_large")

    def _check_version_and_host(self) -> None:
        """HTTP/1.1 has one Host; HTTP/1.0 has at most one, and no chunks."""
        match self.parser.get_http_version():
            case "1.1" if self._hosts == 1:
                return
            case "1.0" if self._hosts <= 1 and not self._codings:
                return
            case "1.1" | "1.0":
                raise _Refusal(400, "host" if not self._codings else "framing")
            case _:
                raise _Refusal(400, "version")

    def _check_target(self) -> None:
        """Take `http://host/path` if it names the same host as `Host` does (RFC 9112, 3.2.2)."""
        target = _ABSOLUTE.match(self.url)
        hosts = [value for name, value in self.headers if name == b"host"]
        if target is None:
            raise _Refusal(400, "target")
        if hosts and hosts[0].lower() != target[1].lower():
            raise _Refusal(400, "host")

    # Answers

    def on_response_complete(self) -> None:
        """Go on to the next request, or to the refusal that waits behind this answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._refusal is not None:
            if not self._busy():
                self._answer(self._refusal)
        elif self._in_body and self.cycle.response_complete and self._timer is None:
            # Answered before its body was read: the rest is dropped, but not for ever.
            self._timer = self.loop.call_later(self.linger, self._expired)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _busy(self) -> bool:
        """Whether an answer is still to come."""
        active = self._active
        return active is not None and not (active.response_complete or active.disconnected)

    def _refuse(self, refusal: _Refusal) -> None:
        """Refuse what the parser stands in; answers to earlier requests go first."""
        self._refusal = refusal
        self._disarm()
        self.refused(refusal.status, refusal.reason, self.client[0] if self.client else None)
        if self._in_body:
            if self.cycle.response_started:
                self.transport.close()
                return
            self._drop_request()
        if not self._busy():
            self._answer(refusal)

    def _drop_request(self) -> None:
        """Take back the request whose body is broken: the app hears that the sender left."""
        if self._active is None or self.cycle is self._active:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        else:
            # Still behind others; it never runs, and the refusal follows the last of them.
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._active

    def _answer(self, refusal: _Refusal) -> None:
        """Write the refusal, end our side, and give the sender a moment to read it."""
        if self._answered:
            return
        self._answered = True
        self._unset_keepalive_if_required()
        later = b"retry-after: 5\r\n" if refusal.status == 503 else b""  # noqa: PLR2004 - as it is known
        head = STATUS_LINE[refusal.status] + later + b"content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._timer = self.loop.call_later(self.linger, self._expired)
        else:
            self.transport.close()


def ingress_protocol(
    *, refused: Refused, header_deadline: float = HEADER_DEADLINE, crowded_from: float = math.inf
) -> type[IngressProtocol]:
    """The protocol class for `uvicorn.Config(http=…)`, which takes a class and no arguments for it."""
    return type(
        "IngressProtocol",
        (IngressProtocol,),
        {"refused": staticmethod(refused), "header_deadline": header_deadline, "crowded_from": crowded_from},
    )
