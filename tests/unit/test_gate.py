"""The gate of the operator listener: what passes, and what is answered in front of the application."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from relay.web.operator_access import Gate

TOKEN = "s3cret-0f-the-operators"
BEARER = ("Authorization", f"Bearer {TOKEN}")


async def ask(
    *headers: tuple[str, str], token: str | None = None, name: str = "127.0.0.1", method: str = "GET"
) -> httpx.Response:
    """What the gate answers to a request with these headers; the application behind it answers 200."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    gate = Gate(PlainTextResponse("inside"), token=None if token is None else SecretStr(token), name=name)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gate), base_url="http://localhost") as one:
        return await one.request(method, "/metrics", headers=raw)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8081", "127.0.0.1", "127.0.0.1:8081", "[::1]", "[::1]:8081", "127.9.9.9"]
)
async def test_this_machines_names_pass(host: str) -> None:
    """Loopback by any of its names, with a port or without."""
    assert (await ask(("Host", host))).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1:8081:8081",
        "10.0.0.1",
        "[::1",
        "relay-1",
        "",
    ],
)
async def test_a_foreign_host_is_refused(host: str) -> None:
    """A name that somebody else may have pointed here, or no name at all, has no business here."""
    assert (await ask(("Host", host))).status_code == 403


async def test_two_hosts_are_refused() -> None:
    """Of two, one may be foreign."""
    assert (await ask(("Host", "localhost"), ("Host", "localhost"))).status_code == 403


@pytest.mark.parametrize("host", ["10.0.0.1:8081", "[fd00::1]:8081", "relay-1:8081", "ops.internal:8081"])
async def test_with_a_token_addresses_and_own_names_pass(host: str) -> None:
    """An address, a name without a dot, and the name that was bound: no stranger owns one of them."""
    assert (await ask(("Host", host), BEARER, token=TOKEN, name="ops.internal")).status_code == 200
    assert (await ask(("Host", "evil.example"), BEARER, token=TOKEN, name="ops.internal")).status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:9000", "http://localhost.evil.example", ""]
)
async def test_another_pages_origin_is_refused(origin: str) -> None:
    """Neither with a token nor without: a browser acts for its user, whoever wrote the page."""
    for token, headers in ((None, ()), (TOKEN, (BEARER,))):
        answer = await ask(
            ("Host", "localhost:8081"), ("Origin", origin), *headers, token=token, method="POST"
        )
        assert answer.status_code == 403


async def test_its_own_pages_pass() -> None:
    """Also behind a proxy that ends TLS."""
    for scheme in ("http", "https"):
        origin = ("Origin", f"{scheme}://localhost:8081")
        assert (await ask(("Host", "localhost:8081"), origin, method="POST")).status_code == 200


@pytest.mark.parametrize(
    "credentials",
    [
        (),
        (("Authorization", TOKEN),),
        (("Authorization", f"Basic {TOKEN}"),),
        (("Authorization", "Bearer"),),
        (("Authorization", "Bearer "),),
        (("Authorization", f"Bearer {TOKEN[:-1]}"),),
        (("Authorization", f"Bearer {TOKEN}x"),),
        (("Authorization", "Bearer \u00e9"),),
        (BEARER, BEARER),
    ],
)
async def test_no_token_or_a_wrong_one_is_refused(credentials: tuple[tuple[str, str], ...]) -> None:
    """401, which says how to be let in and nothing of the token."""
    answer = await ask(("Host", "localhost"), *credentials, token=TOKEN)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "inside" not in answer.text


async def test_the_token_is_let_in() -> None:
    """The scheme in any case, as RFC 9110 has it."""
    for scheme in ("Bearer", "bearer"):
        assert (await ask(("Authorization", f"{scheme} {TOKEN}"), token=TOKEN)).text == "inside"
