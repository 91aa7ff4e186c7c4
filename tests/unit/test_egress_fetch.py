"""Documents that Relay itself needs: by https, from an allowed address, in time, and no more than asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.egress import Egress
from relay.errors import FetchFailed
from tests.support.certificates import Authority
from tests.unit.egress_helpers import OK, answering, listening, rules, saying


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the server's certificate."""
    return Authority(tmp_path)


@pytest.fixture
async def egress(authority: Authority) -> AsyncIterator[Egress]:
    """An egress that trusts the authority."""
    trust = ssl.create_default_context(cafile=str(authority.cert))
    async with Egress(rules(), tls=trust) as egress:
        yield egress


async def test_a_document_is_had_as_it_is(egress: Egress, authority: Authority) -> None:
    """One GET with nothing of Relay in it, and the body back."""
    async with listening(answering(OK), context=authority.issue("localhost").server()) as server:
        assert await egress.fetch(f"https://localhost:{server.port}/cert.pem?v=1") == b"ok"
    head = server.heads[0].split(b"\r\n")
    assert head[0] == b"GET /cert.pem?v=1 HTTP/1.1"
    assert sorted(line.split(b":")[0] for line in head[1:-2]) == [b"accept", b"host"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: https://x/\r\ncontent-length: 0\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nhush", "HTTP 404"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n" + b"x" * 101, "more than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "the body broke off"),
    ],
)
async def test_what_is_not_the_document_fails(
    egress: Egress, authority: Authority, answer: bytes, reason: str
) -> None:
    """A redirect, an error, too much and half of it are failures that name the host alone."""
    async with listening(saying(answer), context=authority.issue("localhost").server()) as server:
        with pytest.raises(FetchFailed) as caught:
            await egress.fetch(f"https://localhost:{server.port}/hush", limit=100)
    assert str(caught.value) == f"localhost: {reason}"


async def test_a_document_that_does_not_come_fails(egress: Egress, authority: Authority) -> None:
    """The time is bounded."""
    context = authority.issue("localhost").server()
    async with listening(saying(OK, pause=3600), context=context) as server:
        with pytest.raises(FetchFailed, match=r"localhost: not finished within 0\.5 s"):
            await egress.fetch(f"https://localhost:{server.port}/hush", timeout=0.5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/hush", "no url", "https://[::1/hush"])
async def test_only_https_is_asked(egress: Egress, url: str) -> None:
    """Any other URL is refused before anything is dialled."""
    with pytest.raises(FetchFailed) as caught:
        await egress.fetch(url)
    assert "hush" not in str(caught.value)


async def test_a_document_is_guarded(authority: Authority) -> None:
    """An address that is denied is not dialled for a document either."""
    async with (
        listening(answering(OK), context=authority.issue("localhost").server()) as server,
        Egress(rules(deny="127.0.0.0/8 ::1/128")) as egress,
    ):
        with pytest.raises(FetchFailed, match="denied by `egress`"):
            await egress.fetch(f"https://localhost:{server.port}/hush")
    assert server.connections == 0


async def test_a_certificate_that_nobody_signed_fails(egress: Egress, authority: Authority) -> None:
    """The document comes from whom it says or not at all."""
    pair = authority.issue("localhost", signed=False)
    async with listening(answering(OK), context=pair.server()) as server:
        with pytest.raises(FetchFailed, match="certificate not accepted: self-signed certificate"):
            await egress.fetch(f"https://localhost:{server.port}/hush")
    assert server.heads == []
