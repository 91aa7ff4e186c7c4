"""OAuth 2.0 client credentials: when a token is asked for, and what its want does to a delivery."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx
import pytest
import respx

from relay.auth import authentication
from relay.config.model import Http, OAuth2Auth
from relay.egress import Egress, Result
from relay.model import Outcome
from tests.unit.egress_helpers import OK, answering, api, attempt_input, destination, listening, rules

TOKEN_URL = "https://id.example/token"
AUTH = OAuth2Auth(token_url=TOKEN_URL, client_id="re lay", client_secret="hu:sh", scope="hooks write")
TARGET = api("https://billing.example/hooks", auth=AUTH)


@pytest.fixture
async def router() -> respx.MockRouter:
    """Routes by which the token's endpoint and the downstream answer."""
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
async def egress(router: respx.MockRouter) -> AsyncIterator[Egress]:
    """An egress whose transport is the router."""
    async with Egress(rules(), httpx.MockTransport(router.async_handler)) as egress:
        yield egress


def tokens(router: respx.MockRouter, *names: str, expires_in: object = 3600) -> respx.Route:
    """Give these tokens in turn."""
    route = router.post(TOKEN_URL)
    route.side_effect = [
        httpx.Response(200, json={"access_token": name, "token_type": "Bearer", "expires_in": expires_in})
        for name in names
    ]
    return route


async def send(egress: Egress, target: Http = TARGET) -> Result:
    """Try once."""
    return await egress.send(attempt_input(), destination(target, total=5.0))


async def test_one_token_serves_all(egress: Egress, router: respx.MockRouter) -> None:
    """Many deliveries at once ask for one token, by the client's credentials, and all carry it."""
    token = tokens(router, "t1")
    downstream = router.post("https://billing.example/hooks").respond(200)
    results = await asyncio.gather(*(send(egress) for _ in range(20)))
    results += [await send(egress)]
    assert {result.outcome for result in results} == {Outcome.DELIVERED}
    assert {call.request.headers["authorization"] for call in downstream.calls} == {"Bearer t1"}
    assert token.call_count == 1
    request = token.calls.last.request
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["hooks write"],
    }
    credentials = base64.b64encode(b"re+lay:hu%3Ash").decode()
    assert request.headers["authorization"] == f"Basic {credentials}"
    assert "idempotency-key" not in request.headers


@pytest.mark.parametrize(
    ("expires_in", "fresh_until"),
    [
        (3600, 3569.0),
        ("3600", 3569.0),
        (40, 19.0),
        (None, 1e9),
        ("soon", 1e9),
        pytest.param(10**400, 1e9, id="huge"),
    ],
)
async def test_a_token_is_replaced_before_it_ends(expires_in: object, fresh_until: float) -> None:
    """It is used until 30 s before its end, a short one for half its life, and for ever without an end."""
    now = 1000.0
    auth = authentication(TARGET, monotonic=lambda: now)
    assert auth is not None

    async def asks() -> bool:
        """Run the flow once, and tell whether it asked for a token."""
        request = httpx.Request("POST", "https://billing.example/hooks")
        flow = auth.async_auth_flow(request)
        sending = await anext(flow)
        asked = sending is not request
        if asked:
            answer = {"access_token": "t", "expires_in": expires_in}
            assert await flow.asend(httpx.Response(200, json=answer)) is request
        with pytest.raises(StopAsyncIteration):
            await flow.asend(httpx.Response(200))
        return asked

    assert await asks()
    now = 1000.0 + fresh_until
    assert not await asks()
    if fresh_until < 1e9:
        now += 2.0
        assert await asks()


async def test_a_refused_token_is_replaced_once(egress: Egress, router: respx.MockRouter) -> None:
    """After a 401 a token that had been in use is asked for anew, and the request goes out once more."""
    token = tokens(router, "t1", "t2", "t3")
    downstream = router.post("https://billing.example/hooks")
    codes = [200, 401, 200, 401, 401]
    seen: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(codes[len(seen) - 1])

    downstream.side_effect = answer
    assert [(await send(egress)).status for _ in range(3)] == [200, 200, 401]
    assert seen == ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2", "Bearer t3"]
    assert token.call_count == 3


async def test_a_new_token_that_is_refused_is_no_reason_to_ask_again(
    egress: Egress, router: respx.MockRouter
) -> None:
    """A 401 to a token of this very attempt is the answer."""
    token = tokens(router, "t1")
    downstream = router.post("https://billing.example/hooks").respond(401)
    result = await send(egress)
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, 401)
    assert (token.call_count, downstream.call_count) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), "HTTP 400 (invalid_client)"),
        (httpx.Response(400, json={"error": "<b>hush</b>"}), "HTTP 400"),
        (httpx.Response(503, text="hush"), "HTTP 503"),
        (httpx.Response(302, headers={"location": "http://x/"}), "HTTP 302"),
        (httpx.Response(200, text="hush"), "the answer holds no access_token"),
        (httpx.Response(200, text="[" * 60_000), "the answer holds no access_token"),
        (httpx.Response(200, json=["hush"]), "the answer holds no access_token"),
        (httpx.Response(200, json={"access_token": "a\r\nx: y"}), "the answer holds no access_token"),
        (
            httpx.Response(200, json={"access_token": "hush", "token_type": "mac"}),
            "the token is no bearer token",
        ),
        (httpx.Response(200, content=b"x" * 70_000), "the answer is too long"),
        (httpx.ConnectError("id.example:443: refused"), "id.example:443: refused"),
        (httpx.ConnectTimeout("connect timeout"), "connect timeout"),
    ],
)
async def test_without_a_token_nothing_is_sent(
    egress: Egress, router: respx.MockRouter, answer: httpx.Response | Exception, error: str
) -> None:
    """The delivery ends as a connect error that names the endpoint's host, and nothing of its answer."""
    token = router.post(TOKEN_URL)
    token.side_effect = [answer]
    downstream = router.post("https://billing.example/hooks").respond(200)
    result = await send(egress)
    assert (result.outcome, result.error) == (Outcome.CONNECT_ERROR, f"no token from id.example: {error}")
    assert downstream.call_count == 0


async def test_those_that_wait_share_a_failure(egress: Egress, router: respx.MockRouter) -> None:
    """A token's endpoint that is down is asked once for all that wait, and again by whoever comes later."""
    token = router.post(TOKEN_URL)

    async def fail(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.05)
        return httpx.Response(500)

    token.side_effect = fail
    results = await asyncio.gather(*(send(egress) for _ in range(20)))
    assert {result.error for result in results} == {"no token from id.example: HTTP 500"}
    assert token.call_count == 1
    await send(egress)
    assert token.call_count == 2


async def test_an_attempt_that_ends_early_leaves_the_others_free(
    egress: Egress, router: respx.MockRouter
) -> None:
    """Whoever was asking is cancelled; the next one asks, and is delivered."""
    hangs = asyncio.Event()
    token = router.post(TOKEN_URL)

    async def answer(request: httpx.Request) -> httpx.Response:
        if not hangs.is_set():
            hangs.set()
            await asyncio.sleep(3600)
        return httpx.Response(200, json={"access_token": "t"})

    token.side_effect = answer
    router.post("https://billing.example/hooks").respond(200)
    first = asyncio.create_task(send(egress))
    await hangs.wait()
    second = asyncio.create_task(send(egress))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).outcome is Outcome.DELIVERED


async def test_the_tokens_address_is_guarded() -> None:
    """An endpoint at a denied address is not asked, and the outcome says so."""
    async with (
        listening(answering(OK)) as server,
        Egress(rules(deny="127.0.0.0/8")) as egress,
    ):
        auth = OAuth2Auth(token_url=f"{server.url}/token", client_id="c", client_secret="s", scope=None)
        result = await send(egress, api("http://192.0.2.1/", auth=auth))
    assert (result.outcome, result.error) == (
        Outcome.BLOCKED_ADDRESS,
        "no token from 127.0.0.1: 127.0.0.1 is denied by `egress`",
    )
    assert server.connections == 0


async def test_forgotten_tokens_are_asked_for_anew(egress: Egress, router: respx.MockRouter) -> None:
    """After `forget` nothing of a token is left."""
    token = tokens(router, "t1", "t2")
    router.post("https://billing.example/hooks").respond(200)
    await send(egress)
    egress.forget()
    await send(egress)
    assert token.call_count == 2
