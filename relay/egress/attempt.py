"""One attempt: a request out, exactly one outcome back, within one deadline."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, assert_never

import httpx

from relay.config.model import Celery, Destination, EgressRules, Email, Http, Success, Timeout
from relay.egress.attempt_input import AttemptInput
from relay.egress.dial.guard import Guard
from relay.egress.http.errors import BlockedError, DnsError, TlsError
from relay.egress.http.exchange import Answer, exchange, read
from relay.egress.http.headers import outbound_headers
from relay.egress.http.proxy import Proxies
from relay.egress.http.request import Plan
from relay.egress.http.transport import AiohttpTransport
from relay.egress.result import Result
from relay.egress.words import escape
from relay.errors import ExpressionError, FetchFailed
from relay.model import Outcome
from relay.retry import parse_retry_after

if TYPE_CHECKING:
    from relay.egress.celery import Tasks


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why no answer came, or why its body did not."""

    outcome: Outcome
    error: str


class Egress:
    """Makes attempts by the rules of `egress`; enter it in the loop that will use it.

    Without `transport` it dials itself; `nameservers` and `tls` are then asked in place of the machine's
    own name servers and certificates.
    """

    def __init__(
        self,
        rules: EgressRules,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        nameservers: Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._guard = Guard(rules)
        self._transport = transport or AiohttpTransport(
            guard=self._guard, proxies=Proxies(rules.proxy), nameservers=nameservers, ssl_context=tls
        )
        self._plans: dict[int, Plan] = {}
        self._tasks: Tasks | None = None

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
        self.forget()
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    def replace(self, rules: EgressRules) -> None:
        """Dial by these rules from now on; what is under way ends by the old ones."""
        self.forget()
        if rules == self._rules:
            return
        self._rules, self._guard = rules, Guard(rules)
        if isinstance(self._transport, AiohttpTransport):
            self._transport.replace(guard=self._guard, proxies=Proxies(rules.proxy))

    def forget(self) -> None:
        """Drop what is kept for destinations, tokens too; those still there are worked out anew."""
        self._plans.clear()
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None

    async def send(self, attempt_input: AttemptInput, destination: Destination) -> Result:
        """Make one attempt and return how it went; raises ExpressionError of a hole in the URL, no more."""
        match destination.target:
            case Http() as http:
                return await self._request(http, attempt_input, destination.timeout)
            case Email() as email:
                return await self._mail(email, attempt_input, destination.timeout)
            case Celery() as celery:
                return await self._task(celery, attempt_input, destination.timeout)
            case _:
                assert_never(destination.target)

    async def fetch(
        self,
        url: str,
        *,
        timeout: float = 2.0,  # noqa: ASYNC109 - kept by asyncio.timeout below
        limit: int = 64 * 1024,
        method: str = "GET",
    ) -> bytes:
        """Get a document that Relay itself needs, of at most `limit` bytes, by https and no redirect.

        Raises FetchFailed, which names the host alone.
        """
        host = "a URL that is none"
        try:
            parsed = httpx.URL(url)
            host = parsed.host
            if parsed.scheme != "https":
                raise FetchFailed(f"{host}: not fetched, since its URL is not https")  # noqa: TRY301 - one report for all
            request = httpx.Request(
                method, parsed, headers=[(b"accept", b"*/*")], stream=httpx.ByteStream(b"")
            )
            async with asyncio.timeout(timeout):
                response = await self._transport.handle_async_request(request)
                body = await read(response, limit)
        except FetchFailed:
            raise
        except TimeoutError:
            raise FetchFailed(f"{host}: not finished within {timeout:g} s") from None
        except Exception as error:
            raise FetchFailed(f"{host}: {_fault(error).error}") from error
        if response.status_code != httpx.codes.OK:
            raise FetchFailed(f"{host}: HTTP {response.status_code}")
        if body is None:
            raise FetchFailed(f"{host}: more than {limit:,} bytes")
        return body

    async def _mail(self, email: Email, attempt_input: AttemptInput, timeout: Timeout) -> Result:  # noqa: ASYNC109 - a value
        from relay.egress.email import attempt as mail  # noqa: PLC0415 - few send mail, and its library costs memory

        return await mail.send(email, attempt_input, timeout=timeout, guard=self._guard)

    async def _task(self, celery: Celery, attempt_input: AttemptInput, timeout: Timeout) -> Result:  # noqa: ASYNC109 - a value
        if self._tasks is None:
            from relay.egress.celery import Tasks  # noqa: PLC0415 - few have it, and it costs 30 MB

            self._tasks = Tasks()
        return await self._tasks.send(celery, attempt_input, timeout=timeout)

    async def _request(self, http: Http, attempt_input: AttemptInput, timeout: Timeout) -> Result:  # noqa: ASYNC109 - a value
        """Send one request. Status and headers decide once they are in; the body is best effort."""
        answer = Answer()
        fault: _Fault | None = None
        headers, note = outbound_headers(
            attempt_input.event,
            attempt_input.delivery,
            extra=http.headers,
            rendered=attempt_input.rendered,
            secret_headers=attempt_input.secret_headers,
        )
        try:
            async with asyncio.timeout(timeout.total):
                plan = self._plans.get(id(http))
                if plan is None:
                    plan = self._plans[id(http)] = Plan.of(http, timeout)
                await exchange(self._transport, plan.request(attempt_input, headers), plan.auth, answer)
        except TimeoutError:
            fault = _Fault(Outcome.TIMEOUT, f"not finished within {timeout.total:g} s")
        except ExpressionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, this delivery has to go on
            fault = _fault(error)
        return _result(answer, fault, http.success, note)


def _result(answer: Answer, fault: _Fault | None, success: Success, sent: str | None) -> Result:
    """Judge by the status where there is one, by the fault where there is none; `sent` is a remark."""
    if answer.status is None or answer.headers is None:
        fault = fault or _Fault(Outcome.READ_ERROR, "no answer")
        return Result(outcome=fault.outcome, error=fault.error, note=sent)
    came = answer.note if fault is None else f"response body: {fault.error}"
    note = "; ".join(filter(None, (sent, came))) or None
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
        case BlockedError() | httpx.ConnectError(__cause__=BlockedError()):
            outcome = Outcome.BLOCKED_ADDRESS
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
    return _Fault(outcome, escape(str(error)) or type(error).__name__)
