"""Through a proxy: which requests go there, and that only the destination's address is checked by then."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from pathlib import Path

import httpx
import pytest
import yarl

from relay.egress import Egress
from relay.egress.http.proxy import Proxies
from relay.model import Outcome
from tests.support.certificates import Authority
from tests.unit.egress_helpers import (
    OK,
    Server,
    answering,
    api,
    attempt,
    attempt_input,
    destination,
    listening,
    rules,
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine is in the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def picked(proxies: Proxies, url: str) -> str | None:
    """The proxy for a URL."""
    proxy = proxies.pick(yarl.URL(url))
    return None if proxy is None else str(proxy)


def test_without_a_rule_there_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment counts only where the file says so."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert picked(Proxies(None), "http://h/") is None


def test_a_proxy_that_is_named_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's own proxy knows no exceptions."""
    monkeypatch.setenv("NO_PROXY", "*")
    proxies = Proxies("http://u:p@proxy:3128")
    assert picked(proxies, "http://h/") == "http://u:p@proxy:3128"
    assert picked(proxies, "https://localhost/") == "http://u:p@proxy:3128"


def test_the_environment_is_read_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One proxy for http, one for https, and NO_PROXY with suffixes and ports."""
    monkeypatch.setenv("HTTP_PROXY", "plain:80")
    monkeypatch.setenv("HTTPS_PROXY", "http://tls:81")
    monkeypatch.setenv("NO_PROXY", "internal,10.0.0.1,one:8443")
    proxies = Proxies("environment")
    assert picked(proxies, "http://h/") == "http://plain"
    assert picked(proxies, "https://h/") == "http://tls:81"
    assert picked(proxies, "https://a.internal/") is None
    assert picked(proxies, "https://10.0.0.1/") is None
    assert picked(proxies, "https://one:8443/") is None
    assert picked(proxies, "https://one/") == "http://tls:81"


def test_a_proxy_that_speaks_no_http_is_an_error() -> None:
    """A scheme that is not spoken here does not fall back to dialling directly."""
    with pytest.raises(httpx.ProxyError):
        Proxies("socks5://proxy:1080").pick(yarl.URL("http://h/"))


async def test_a_plain_request_goes_to_the_proxy_whole() -> None:
    """The proxy gets the absolute URL and its credentials, each time; names are its own to resolve."""
    async with listening(answering(OK)) as proxy:
        egress = Egress(rules(deny="127.0.0.0/8", proxy=f"http://u:p@127.0.0.1:{proxy.port}"))
        async with egress:
            for _ in range(2):
                result = await attempt(egress, "http://gone.invalid/a%2Fb?c=d", body=b"hello")
                assert result.outcome is Outcome.DELIVERED
    assert proxy.connections == 1
    assert proxy.bodies == [b"hello", b"hello"]
    credentials = b"proxy-authorization: Basic " + base64.b64encode(b"u:p")
    for head in proxy.heads:
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST http://gone.invalid/a%2Fb?c=d HTTP/1.1"
        assert b"host: gone.invalid" in lines
        assert credentials.lower() in [line.lower() for line in lines]


async def tunnel(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do as a proxy does with CONNECT, whatever the name, to the port that it names here."""
    await server.receive(reader)
    port = int(server.heads[-1].split(b" ")[1].rpartition(b":")[2])
    there, back = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(carry(reader, back), carry(there, writer))


async def test_a_request_by_tls_goes_through_a_tunnel(tmp_path: Path) -> None:
    """The proxy sees host and port alone; the certificate is checked against the host that was asked for."""
    authority = Authority(tmp_path)
    trust = ssl.create_default_context(cafile=str(authority.cert))
    good, bad = authority.issue("billing.invalid").server(), authority.issue("other.invalid").server()
    async with (
        listening(answering(OK), context=good) as server,
        listening(answering(OK), context=bad) as other,
        listening(tunnel) as proxy,
        Egress(rules(deny="127.0.0.0/8", proxy=f"http://u:p@127.0.0.1:{proxy.port}")) as egress,
    ):
        headers = ((b"x-a", b"hush"),)
        target = api(f"https://billing.invalid:{server.port}/hush", headers=headers, tls=trust)
        result = await egress.send(attempt_input(body=b"hush"), destination(target))
        wrong = api(f"https://billing.invalid:{other.port}/hush", tls=trust)
        refused = await egress.send(attempt_input(), destination(wrong))
    assert result.outcome is Outcome.DELIVERED
    assert server.bodies == [b"hush"]
    assert proxy.heads[0].startswith(b"CONNECT billing.invalid:%d HTTP/1.1\r\n" % server.port)
    assert b"hush" not in b"".join(proxy.heads)
    assert b"proxy-authorization" not in server.heads[0].lower()
    assert refused.outcome is Outcome.TLS_ERROR
    assert other.bodies == []


async def test_an_address_is_checked_before_the_proxy_is_asked() -> None:
    """A literal that is denied never reaches the proxy, by http or https."""
    async with (
        listening(answering(OK)) as proxy,
        Egress(rules(deny="169.254.0.0/16", proxy=proxy.url)) as egress,
    ):
        plain = await attempt(egress, "http://169.254.169.254/latest")
        mapped = await attempt(egress, "https://[::ffff:169.254.169.254]/latest")
    assert plain.outcome is Outcome.BLOCKED_ADDRESS
    assert mapped.outcome is Outcome.BLOCKED_ADDRESS
    assert proxy.connections == 0


async def test_a_proxy_that_refuses_is_a_connect_error() -> None:
    """What the proxy says to CONNECT is no answer of the destination."""
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    async with listening(answering(refusal)) as proxy, Egress(rules(proxy=proxy.url)) as egress:
        result = await attempt(egress, "https://billing.invalid/hush")
    assert (result.outcome, result.error) == (
        Outcome.CONNECT_ERROR,
        "the proxy refused to connect: HTTP 403",
    )


async def test_a_proxy_that_is_not_there_is_a_connect_error() -> None:
    """Its host and port are named, its credentials are not."""
    async with listening(answering(OK)) as proxy:
        port = proxy.port
    async with Egress(rules(proxy=f"http://u:hush@127.0.0.1:{port}")) as egress:
        result = await attempt(egress, "http://billing.invalid/hush")
    assert result.outcome is Outcome.CONNECT_ERROR
    assert result.error is not None
    assert result.error.startswith(f"proxy 127.0.0.1:{port}: ")
    assert "hush" not in result.error
