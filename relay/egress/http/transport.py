"""httpx's transport interface over aiohttp sessions: what httpx asks for, at aiohttp's price.

Nothing is added, changed, followed, stored or tried again on the way; aiohttp's habits are switched off
one by one below. Errors leave as httpx's own, with a text that holds host and port but never the URL.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache  # noqa: TID251 - its keys are of the configuration
from types import TracebackType
from typing import Any, Self

import aiohttp
import aiohttp.payload
import httpx
import yarl
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, istr

from relay.egress.caching import cache_short
from relay.egress.dial.guard import BlockedAddress, Guard, watch
from relay.egress.http.connections import ALL_HEADS, LONGEST_HEAD, MOST_HEADERS, Connector
from relay.egress.http.errors import BlockedError, BrokenConnectionError, translate
from relay.egress.http.proxy import Proxies
from relay.limits import Budget

# Servers close idle connections after 5 s where nobody set it (uvicorn, Node); a request on a connection
# that is just being closed fails, and Relay tries nothing twice by itself.
_KEEP_ALIVE = 4.0
# aiohttp stops reading the socket at twice this, so what is not asked for stays with the sender of it.
_READ_BUFFER = 32 * 1024
# What HTTP/1.1 cannot do without; taken from aiohttp where the request does not bring it.
_NEEDED = (istr("host"), istr("content-length"))
# Above it aiohttp warns that plain bytes block the loop.
_LARGE_BODY = 1024 * 1024
_PIECE = 64 * 1024


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests as they are; enter it, since its sessions belong to the running loop.

    Understands httpx's `timeout` extension in so far as `connect` (name, TCP and TLS together), and one
    of its own, `tls`: the SSLContext of this request. The deadline on the whole is the caller's, by
    `asyncio.timeout`. Without `ssl_context` and `nameservers` those of the machine are used, without
    `guard` every address is dialled.
    """

    def __init__(
        self,
        *,
        guard: Guard | None = None,
        proxies: Proxies | None = None,
        ssl_context: ssl.SSLContext | None = None,
        nameservers: Sequence[str] | None = None,
    ) -> None:
        self._guard = guard
        self._proxies = proxies or Proxies(None)
        self._ssl = ssl_context
        self._nameservers = nameservers
        self._heads = Budget(ALL_HEADS)
        self._resolver: aiohttp.AsyncResolver | None = None
        self._lines: list[_Line] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._direct: _Line | None = None
        self._proxied: _Line | None = None

    async def __aenter__(self) -> Self:
        """Get ready to dial."""
        # By aiodns, so that one slow name holds up nobody else.
        options: dict[str, Any] = (
            {} if self._nameservers is None else {"nameservers": list(self._nameservers)}
        )
        self._resolver = aiohttp.AsyncResolver(**options)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close every connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; what is in flight fails."""
        lines, self._lines, self._direct, self._proxied = self._lines, [], None, None
        for line in lines:
            await line.session.close()
        await asyncio.gather(*self._closing)
        if self._resolver is not None:
            # Questions that are still out would be answered into a loop that has ended.
            resolver, self._resolver = self._resolver, None
            await resolver.close()

    def replace(self, *, guard: Guard, proxies: Proxies) -> None:
        """Dial by other rules from now on; no connection made under the old ones takes another request."""
        self._guard, self._proxies = guard, proxies
        lines, self._lines, self._direct, self._proxied = self._lines, [], None, None
        for line in lines:
            line.retired = True
            if line.users == 0:
                self._close(line)
            else:
                self._lines.append(line)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return as soon as status and headers are there, with the body to be read."""
        body = request.read() if isinstance(request.stream, httpx.SyncByteStream) else await request.aread()
        target = _target(str(request.url))
        proxy = self._proxies.pick(target)
        line = self._dialled() if proxy is None else self._forwarded(target)
        blocked = watch()
        line.users += 1
        try:
            response = await line.session.request(
                request.method,
                target,
                data=(body if len(body) < _LARGE_BODY else _Pieces(body)) or None,
                allow_redirects=False,
                timeout=_timeout(request.extensions.get("timeout", {}).get("connect")),
                ssl=request.extensions.get("tls") or True,
                proxy=proxy,
                middlewares=(_Verbatim(request.headers.raw),),
            )
        except BaseException as error:
            self._leave(line)
            if blocked and isinstance(error, aiohttp.ClientConnectorError):
                raise BlockedError(_blocked(target, blocked)) from error
            if isinstance(error, (aiohttp.ClientError, OSError)):
                raise translate(error) from error
            raise
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response, lambda: self._leave(line)),
            extensions={"reason_phrase": (response.reason or "").encode()},
        )

    def _dialled(self) -> _Line:
        """The line on which Relay dials itself, past the guard."""
        if self._direct is None:
            self._direct = self._open(None if self._guard is None else self._guard.socket)
        return self._direct

    def _forwarded(self, target: yarl.URL) -> _Line:
        """The line to the proxies, which the operator named; of the host, only an address can be checked."""
        if self._guard is not None:
            try:
                self._guard.check_literal(target.host or "")
            except BlockedAddress as error:
                raise BlockedError(str(error)) from error
        if self._proxied is None:
            self._proxied = self._open(None)
        return self._proxied

    def _open(self, socket_factory: Callable[[tuple[Any, ...]], socket.socket] | None) -> _Line:
        if self._resolver is None:
            raise RuntimeError("the transport is not open: use it as an async context manager")
        connector = Connector(
            heads=self._heads,
            limit=0,  # how many at once is a question of the destination's concurrency
            keepalive_timeout=_KEEP_ALIVE,
            resolver=self._resolver,
            ssl=self._ssl or True,  # True is the context that importing aiohttp made: each takes 50 ms
            socket_factory=socket_factory,
        )
        line = _Line(
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Content-Type",),  # the one that is added past the middleware
                auto_decompress=False,
                trust_env=False,
                timeout=_timeout(None),
                read_bufsize=_READ_BUFFER,
                max_line_size=LONGEST_HEAD,
                max_field_size=LONGEST_HEAD,
                max_headers=MOST_HEADERS,
            )
        )
        self._lines.append(line)
        return line

    def _leave(self, line: _Line) -> None:
        """One request fewer on this line; the last one of a retired line closes it."""
        line.users -= 1
        if line.retired and line.users == 0 and line in self._lines:
            self._lines.remove(line)
            self._close(line)

    def _close(self, line: _Line) -> None:
        closing = asyncio.get_running_loop().create_task(line.session.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


@dataclass(slots=True, eq=False)
class _Line:
    """A session with its connections, and how many requests are on it now."""

    session: aiohttp.ClientSession
    users: int = 0
    retired: bool = False


class _Body(httpx.AsyncByteStream):
    """The body of a response, undecoded; closing it early closes its connection."""

    def __init__(self, response: aiohttp.ClientResponse, closed: Callable[[], None]) -> None:
        self._response = response
        self._closed: Callable[[], None] | None = closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content = self._response.content
        if content.at_eof():
            raise StopAsyncIteration
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # A body that was read to its end has given its connection back already.
        self._response.close()
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()


class _Pieces(aiohttp.payload.Payload):
    """A large body, written piece by piece; aiohttp's own way, by BytesIO, makes a copy of all of it."""

    _autoclose = True

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text, for which nobody asks."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it, as fast as it is taken."""
        whole = memoryview(self._value)
        for start in range(0, len(whole), _PIECE):
            await writer.write(whole[start : start + _PIECE])
            await asyncio.sleep(0)  # where the socket takes everything, others want their turn


class _Verbatim:
    """Puts the headers in place of those that aiohttp made up, and keeps it from sending twice.

    aiohttp repeats PUT, GET or DELETE by itself after the errors that are renamed here.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        headers = CIMultiDict([(_name(name), value.decode()) for name, value in self._headers])
        for name in _NEEDED:
            if name not in headers and name in request.headers:
                headers[name] = request.headers[name]
        request.headers = headers
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise BrokenConnectionError from error


def _blocked(target: yarl.URL, addresses: list[str]) -> str:
    """Name the host, and what it turned out to be."""
    host = target.host or ""
    found = ", ".join(dict.fromkeys(addresses))
    return f"{found} is denied by `egress`" if host == found else f"{host}: {found} is denied by `egress`"


@cache_short(count=1024, longest=1024)
def _target(url: str) -> yarl.URL:
    """Take a URL over byte for byte: the target is httpx's raw path, query included."""
    parsed = httpx.URL(url)
    return yarl.URL.build(
        scheme=parsed.scheme,
        authority=parsed.netloc.decode(),
        path=parsed.raw_path.decode(),
        encoded=True,
    )


@cache_short(count=4096, longest=64)
def _name(name: bytes) -> istr:
    return istr(name.decode().lower())


@lru_cache(maxsize=64)
def _timeout(connect: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect)
