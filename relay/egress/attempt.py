"""One attempt: a request out, exactly one outcome back, within one deadline."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes

import httpx

from relay.config.model import Timeout
from relay.egress.transport import AiohttpTransport, DnsError, TlsError
from relay.model import Headers, Outcome
from relay.retry import parse_retry_after

_READ_LIMIT = 64 * 1024
_KEPT = 4 * 1024
_ERROR_LIMIT = 200
# With an empty body these say nothing about it; all others, that its length is zero (RFC 9110 8.6).
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended: `status` where one came, else `error`; `note` is a remark on what worked.

    `response` is the start of the body, undecoded; `retry_after` is in seconds.
    """

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    response: bytes = b""
    note: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why no answer came, or why its body did not."""

    outcome: Outcome
    error: str


@dataclass(slots=True)
class _Answer:
    """What has come back so far; it is filled while the deadline runs, and judged when it ends."""

    status: int | None = None
    headers: httpx.Headers | None = None
    body: bytes = b""
    note: str | None = None


class Egress:
    """Makes attempts over one transport; enter it in the loop that will use it."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = AiohttpTransport() if transport is None else transport

    async def __aenter__(self) -> Self:
        """Open the transport."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the transport and its connections."""
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    async def attempt(
        self,
        *,
        method: str,
        url: httpx.URL | str,
        headers: Headers,
        body: bytes,
        timeout: Timeout,  # noqa: ASYNC109 - two deadlines in one value, kept by asyncio.timeout below
        success: Callable[[int], bool],
    ) -> Result:
        """Send one request and return how it went; raises nothing but `CancelledError`.

        Status and headers decide once they are in; the body is read as far as deadline and limit allow.
        """
        answer = _Answer()
        fault: _Fault | None = None
        try:
            async with asyncio.timeout(timeout.total):
                request = _request(method, url, headers, body, timeout.connect)
                await _exchange(self._transport, request, answer)
        except TimeoutError:
            fault = _Fault(Outcome.TIMEOUT, f"not finished within {timeout.total:g} s")
        except Exception as error:  # noqa: BLE001 - whatever it is, this delivery has to go on
            fault = _fault(error)
        return _result(answer, fault, success)


async def _exchange(transport: httpx.AsyncBaseTransport, request: httpx.Request, answer: _Answer) -> None:
    """Send the request; note status and headers, then at most `_READ_LIMIT` bytes of the body."""
    response = await transport.handle_async_request(request)
    answer.status = response.status_code
    answer.headers = response.headers
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport's response cannot be read asynchronously")
    size = 0
    try:
        async for chunk in stream:
            size += len(chunk)
            if len(answer.body) < _KEPT:
                answer.body = (answer.body + chunk)[:_KEPT]
            if size > _READ_LIMIT:
                answer.note = f"response body: more than {_READ_LIMIT // 1024} KiB, the rest was not read"
                break
    finally:
        await stream.aclose()


def _result(answer: _Answer, fault: _Fault | None, success: Callable[[int], bool]) -> Result:
    """Judge by the status where there is one, by the fault where there is none."""
    if answer.status is None or answer.headers is None:
        fault = fault or _Fault(Outcome.READ_ERROR, "no answer")
        return Result(outcome=fault.outcome, error=fault.error)
    note = answer.note if fault is None else f"response body: {fault.error}"
    if success(answer.status):
        return Result(outcome=Outcome.DELIVERED, status=answer.status, response=answer.body, note=note)
    wish = answer.headers.get("retry-after")
    return Result(
        outcome=Outcome.HTTP_STATUS,
        status=answer.status,
        error=f"HTTP {answer.status}",
        response=answer.body,
        note=note,
        retry_after=None if wish is None else parse_retry_after(wish, now=time.time()),
    )


def _fault(error: Exception) -> _Fault:
    """Name an error; only what a transport says of itself is quoted, since other texts may hold the URL."""
    match error:
        case DnsError():
            outcome = Outcome.DNS_ERROR
        case TlsError():
            outcome = Outcome.TLS_ERROR
        case httpx.TimeoutException():
            outcome = Outcome.TIMEOUT
        case httpx.ConnectError() | httpx.UnsupportedProtocol() | httpx.ProxyError():
            outcome = Outcome.CONNECT_ERROR
        case httpx.TransportError():
            outcome = Outcome.READ_ERROR
        case httpx.InvalidURL():
            return _Fault(Outcome.CONNECT_ERROR, "the URL is not valid")
        case _:
            return _Fault(Outcome.READ_ERROR, f"unexpected {type(error).__name__}")
    return _Fault(outcome, _escape(str(error)) or type(error).__name__)


def _escape(text: str) -> str:
    """Make a text one short line that no terminal obeys."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)[:_ERROR_LIMIT]


def _request(
    method: str, url: httpx.URL | str, headers: Headers, body: bytes, connect: float | None
) -> httpx.Request:
    """Build the request with nothing in it but what is given, and the length of its body.

    Credentials in the URL become an `Authorization`, unless there is one, as every client does it.
    """
    target, authorization = _target(url)
    raw = list(headers)
    if body or method not in _BODILESS:
        raw.append((b"content-length", b"%d" % len(body)))
    if authorization is not None and all(name != b"authorization" for name, _ in headers):
        raw.append((b"authorization", authorization))
    return httpx.Request(
        method,
        target,
        headers=raw,
        stream=httpx.ByteStream(body),
        extensions={"timeout": {"connect": connect}},
    )


@lru_cache(maxsize=1024)
def _target(url: httpx.URL | str) -> tuple[httpx.URL, bytes | None]:
    """Parse a URL once, and take its credentials out."""
    parsed = httpx.URL(url)
    if not parsed.userinfo:
        return parsed, None
    user, _, password = parsed.userinfo.partition(b":")
    credentials = base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password))
    return parsed.copy_with(username=None, password=None), b"Basic " + credentials
