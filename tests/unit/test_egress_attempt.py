"""One attempt ends in one outcome: what a downstream may answer, and what a transport may raise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from time import time

import httpx
import pytest
import respx

from relay.egress import Egress
from relay.egress.http.errors import DnsError, TlsError
from relay.model import Outcome
from tests.unit.egress_helpers import OWN, attempt, rules

URL = "https://user:hush@billing.example/hooks?token=hush"
BARE = "https://billing.example/hooks?token=hush"


@pytest.fixture
async def router() -> respx.MockRouter:
    """Routes by which a downstream answers."""
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
async def egress(router: respx.MockRouter) -> AsyncIterator[Egress]:
    """An egress whose transport is the router."""
    async with Egress(rules(), httpx.MockTransport(router.async_handler)) as egress:
        yield egress


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_successful_status_is_delivered(
    egress: Egress, router: respx.MockRouter, status: int
) -> None:
    """The destination's rule on the status decides, and its answer is kept."""
    router.post(BARE).respond(status, content=b"thanks")
    result = await attempt(egress, BARE)
    assert (result.outcome, result.status, result.error) == (Outcome.DELIVERED, status, None)
    assert result.response == b"thanks"


@pytest.mark.parametrize("status", [101, 199, 301, 307, 304, 400, 410, 429, 500, 599])
async def test_any_other_status_is_http_status(egress: Egress, router: respx.MockRouter, status: int) -> None:
    """A status that is no success is a failure with its number, and no exception."""
    router.post(BARE).respond(status, content=b"no")
    result = await attempt(egress, BARE)
    assert (result.outcome, result.status, result.error) == (Outcome.HTTP_STATUS, status, f"HTTP {status}")
    assert result.response == b"no"


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (httpx.ConnectError("refused"), Outcome.CONNECT_ERROR, "refused"),
        (httpx.ConnectTimeout("connect timeout"), Outcome.TIMEOUT, "connect timeout"),
        (httpx.ReadTimeout("slow"), Outcome.TIMEOUT, "slow"),
        (DnsError("nowhere"), Outcome.DNS_ERROR, "nowhere"),
        (TlsError("expired"), Outcome.TLS_ERROR, "expired"),
        (httpx.ReadError("reset"), Outcome.READ_ERROR, "reset"),
        (httpx.WriteError("pipe"), Outcome.READ_ERROR, "pipe"),
        (httpx.RemoteProtocolError(""), Outcome.READ_ERROR, "RemoteProtocolError"),
        (httpx.ReadError("a\r\n\x1b[31mb\u2028c"), Outcome.READ_ERROR, r"a\r\n\x1b[31mb\u2028c"),
        (httpx.ReadError("x" * 5000), Outcome.READ_ERROR, "x" * 200),
        (ValueError(URL), Outcome.READ_ERROR, "unexpected ValueError"),
    ],
)
async def test_what_a_transport_raises_is_an_outcome(
    egress: Egress, router: respx.MockRouter, error: Exception, outcome: Outcome, text: str
) -> None:
    """Every error becomes an outcome and one short line, which does not hold the URL."""
    router.post(BARE).mock(side_effect=error)
    result = await attempt(egress, URL)
    assert (result.outcome, result.error, result.status) == (outcome, text, None)


@pytest.mark.parametrize("url", ["http://[::1", "https://exa\x00mple/", "http://h:99999999/", "no url"])
async def test_a_url_that_is_none_is_an_outcome(egress: Egress, url: str) -> None:
    """What cannot be a URL is a connect error and no exception."""
    result = await attempt(egress, url)
    assert result.outcome in {Outcome.CONNECT_ERROR, Outcome.READ_ERROR}


async def test_the_deadline_holds_over_any_transport(egress: Egress, router: respx.MockRouter) -> None:
    """The whole attempt has one deadline, whoever carries it."""

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        return httpx.Response(200)

    router.post(BARE).mock(side_effect=hang)
    result = await attempt(egress, BARE, total=0.05)
    assert (result.outcome, result.error) == (Outcome.TIMEOUT, "not finished within 0.05 s")


async def test_cancelling_an_attempt_cancels_it(egress: Egress, router: respx.MockRouter) -> None:
    """CancelledError is the one exception that comes through."""

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        return httpx.Response(200)

    router.post(BARE).mock(side_effect=hang)
    task = asyncio.create_task(attempt(egress, BARE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("garbage", None), ("1e9", 365 * 86400.0), (None, None)]
)
async def test_retry_after_is_read(
    egress: Egress, router: respx.MockRouter, value: str | None, seconds: float | None
) -> None:
    """A failing answer may say when to come back."""
    router.post(BARE).respond(429, headers={} if value is None else {"Retry-After": value})
    assert (await attempt(egress, BARE)).retry_after == seconds


async def test_retry_after_as_a_date_is_read(egress: Egress, router: respx.MockRouter) -> None:
    """A date is by the wall clock."""
    router.post(BARE).respond(503, headers={"Retry-After": formatdate(time() + 3600, usegmt=True)})
    wish = (await attempt(egress, BARE)).retry_after
    assert wish is not None
    assert 3500 < wish <= 3600


async def test_the_request_is_what_was_given(egress: Egress, router: respx.MockRouter) -> None:
    """Method, headers and body reach the transport as they are, with the length of the body."""
    route = router.route(method="PURGE", url=BARE).respond(200)
    await attempt(egress, BARE, method="PURGE", headers=((b"x-a", b"1"), (b"x-a", b"2")), body=b"hello")
    request = route.calls.last.request
    sent = [header for header in request.headers.raw if header[0] not in OWN]
    assert sent == [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5")]
    assert request.content == b"hello"


@pytest.mark.parametrize(("method", "length"), [("POST", "0"), ("PATCH", "0"), ("GET", None), ("HEAD", None)])
async def test_an_empty_body_has_a_length_where_a_body_is_expected(
    egress: Egress, router: respx.MockRouter, method: str, length: str | None
) -> None:
    """An empty POST says so; a GET says nothing of a body."""
    route = router.route(method=method, url=BARE).respond(200)
    await attempt(egress, BARE, method=method, body=b"")
    assert route.calls.last.request.headers.get("content-length") == length


async def test_credentials_in_the_url_become_a_header(egress: Egress, router: respx.MockRouter) -> None:
    """They are sent as basic authorization unless the destination has a header for it, never as URL."""
    route = router.post(BARE).respond(200)
    await attempt(egress, "https://us%20er:h%3Ash@billing.example/hooks?token=hush")
    assert route.calls.last.request.headers["authorization"] == "Basic dXMgZXI6aDpzaA=="
    assert route.calls.last.request.url.userinfo == b""
    await attempt(egress, URL, headers=((b"authorization", b"Bearer t"),))
    assert route.calls.last.request.headers["authorization"] == "Bearer t"
