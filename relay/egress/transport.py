"""httpx's transport interface over an aiohttp session: what httpx asks for, at aiohttp's price.

Nothing is added, changed, followed, stored or tried again on the way; aiohttp's habits are switched off
one by one below. Errors leave as httpx's own, with a text that holds host and port but never the URL.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx
import yarl
from multidict import CIMultiDict, istr

# Servers close idle connections after 5 s where nobody set it (uvicorn, Node); a request on a connection
# that is just being closed fails, and Relay tries nothing twice by itself.
_KEEP_ALIVE = 4.0
# aiohttp stops reading the socket at twice this, so what is not asked for stays with the sender of it.
_READ_BUFFER = 32 * 1024
_HEADER_LIMIT = 64 * 1024
# What HTTP/1.1 cannot do without; taken from aiohttp where the request does not bring it.
_NEEDED = (istr("host"), istr("content-length"))
# Above it aiohttp warns that plain bytes block the loop, and wants something that it can read in pieces.
_LARGE_BODY = 1024 * 1024


class DnsError(httpx.ConnectError):
    """The name of the host could not be resolved."""


class TlsError(httpx.ConnectError):
    """The host was reached, but TLS did not come about: certificate, name or protocol."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests as they are; enter it, since the session belongs to the running loop.

    Understands httpx's `timeout` extension in so far as `connect` (name, TCP and TLS together); the
    deadline on the whole is the caller's, by `asyncio.timeout`. Without `ssl_context` and `nameservers`
    those of the machine are used.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        nameservers: Sequence[str] | None = None,
    ) -> None:
        self._ssl = ssl_context
        self._nameservers = nameservers
        self._resolver: aiohttp.AsyncResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        # By aiodns, so that one slow name holds up nobody else.
        options: dict[str, Any] = (
            {} if self._nameservers is None else {"nameservers": list(self._nameservers)}
        )
        self._resolver = aiohttp.AsyncResolver(**options)
        connector = aiohttp.TCPConnector(
            limit=0,  # how many at once is a question of the destination's concurrency
            keepalive_timeout=_KEEP_ALIVE,
            resolver=self._resolver,
            ssl=self._ssl or ssl.create_default_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type",),  # the one that is added past the middleware
            auto_decompress=False,
            trust_env=False,
            timeout=_timeout(None),
            read_bufsize=_READ_BUFFER,
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
            max_headers=1000,
        )
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
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        if self._resolver is not None:
            # Questions that are still out would be answered into a loop that has ended.
            resolver, self._resolver = self._resolver, None
            await resolver.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return as soon as status and headers are there, with the body to be read."""
        if self._session is None:
            raise RuntimeError("the transport is not open: use it as an async context manager")
        body = request.read() if isinstance(request.stream, httpx.SyncByteStream) else await request.aread()
        connect = request.extensions.get("timeout", {}).get("connect")
        try:
            response = await self._session.request(
                request.method,
                _target(str(request.url)),
                data=(body if len(body) < _LARGE_BODY else io.BytesIO(body)) or None,
                allow_redirects=False,
                timeout=_timeout(connect),
                middlewares=(_Verbatim(request.headers.raw),),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _translate(error) from error
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response),
            extensions={"reason_phrase": (response.reason or "").encode()},
        )


class _Body(httpx.AsyncByteStream):
    """The body of a response, undecoded; closing it early closes its connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content = self._response.content
        if content.at_eof():
            raise StopAsyncIteration
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _translate(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # A body that was read to its end has given its connection back already.
        self._response.close()


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
            raise _BrokenConnectionError from error


class _BrokenConnectionError(aiohttp.ClientError):
    """The connection broke before an answer came; the cause says how."""


def _translate(error: Exception) -> httpx.TransportError:  # noqa: PLR0911 - a table
    """Find the httpx error that says the same."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("connect timeout")
        case aiohttp.ClientConnectorDNSError():
            return DnsError(f"{error.host}: {error.os_error.strerror or 'cannot be resolved'}")
        case aiohttp.ClientConnectorCertificateError():
            return TlsError(f"{error.host}:{error.port}: {_tls_reason(error.certificate_error)}")
        case aiohttp.ClientConnectorError():
            kind = TlsError if isinstance(error, aiohttp.ClientSSLError) else httpx.ConnectError
            return kind(f"{error.host}:{error.port}: {_reason(error.os_error)}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol("the URL is no HTTP URL")
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError("the answer is no HTTP")
        case aiohttp.ClientPayloadError():
            return httpx.ReadError("the body broke off")
        case _:
            return _broken(error)


def _broken(error: BaseException) -> httpx.TransportError:
    """Name what broke a connection that had been made; the innermost cause knows best."""
    while error.__cause__ is not None:
        error = error.__cause__
    match error:
        case ssl.SSLError():
            return TlsError(_tls_reason(error))
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError("the connection was closed without an answer")
        case OSError():
            return httpx.ReadError(_reason(error))
        case _:
            return httpx.ReadError("the connection broke")


def _reason(error: OSError) -> str:
    """Return the operating system's words, or TLS's."""
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    return error.strerror or type(error).__name__


def _tls_reason(error: Exception) -> str:
    """Return OpenSSL's words without its source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "TLS failed"


@lru_cache(maxsize=1024)
def _target(url: str) -> yarl.URL:
    """Take a URL over byte for byte: the target is httpx's raw path, query included."""
    parsed = httpx.URL(url)
    return yarl.URL.build(
        scheme=parsed.scheme,
        authority=parsed.netloc.decode(),
        path=parsed.raw_path.decode(),
        encoded=True,
    )


@lru_cache(maxsize=4096)
def _name(name: bytes) -> istr:
    return istr(name.decode().lower())


@lru_cache(maxsize=64)
def _timeout(connect: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect)
