"""The operator listener under those who should not be there (31)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import pytest

from tests.support import RelayProcess, free_port, request

StartRelay = Callable[..., RelayProcess]

TOKEN = "s3cret-0f-the-operators"
BEARER = ("Authorization", f"Bearer {TOKEN}")
CONFIG = """
sources: {in: {verify: none}}
destinations: {out: {url: "http://127.0.0.1:9/sink"}}
routes: [{source: in, to: out}]
"""
BOTH = pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one", "workers"])


def status_of(port: int, target: str, headers: Sequence[str]) -> int:
    """The status of a request that goes out byte for byte, so that no client tidies its target."""
    lines = [f"GET {target} HTTP/1.1", *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.makefile("rb").readline().split()[1])


@BOTH
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_token_it_stays_on_loopback(
    start_relay: StartRelay, flags: tuple[str, ...], host: str
) -> None:
    """Off loopback it refuses to start, and says what to set."""
    relay = start_relay(CONFIG, flags=flags, env={"RELAY_ADMIN_HOST": host}, start=False)
    ended = relay.start(ready=False).wait_exit()
    assert ended.code == 2
    assert f"RELAY_ADMIN_HOST: other machines reach the operator listener on {host}" in ended.err
    assert "RELAY_ADMIN_TOKEN" in ended.err
    assert not ended.out


@BOTH
def test_with_a_token_nobody_passes_without_it(start_relay: StartRelay, flags: tuple[str, ...]) -> None:
    """On each of its ports: whatever the path is written like, 401; and 403 from foreign hosts and pages."""
    port = free_port()
    relay = start_relay(
        CONFIG,
        flags=flags,
        env={
            "RELAY_ADMIN_HOST": "0.0.0.0",
            "RELAY_ADMIN_TOKEN": TOKEN,
            "RELAY_METRICS_PORT": str(port),
        },
        start=False,
    ).start(timeout=60)
    for listener in (relay.admin_port, port):
        host = f"127.0.0.1:{listener}"
        for target in (
            "/metrics",
            "//metrics",
            "/..;/metrics",
            "/x/..;/metrics",
            "/x/../metrics",
            "/%2e%2e/metrics",
            "/metrics/",
            "/metrics%00",
            "/METRICS",
            "/metrics?token=" + TOKEN,
            "/livez",
            "/",
            "*",
            f"http://{host}/metrics",
        ):
            assert status_of(listener, target, [f"Host: {host}"]) == 401, target
            assert status_of(listener, target, [f"Host: {host}", "Authorization: Bearer wrong"]) == 401, (
                target
            )
        url = f"http://{host}/metrics"
        assert request("GET", url, headers=[BEARER]).status == 200
        foreign = [BEARER, ("Origin", "https://evil.example")]
        assert request("POST", url, headers=foreign).status == 403
        assert request("POST", url, headers=[BEARER]).status == 405
        assert request("GET", url, headers=[BEARER, ("Host", "evil.example")]).status == 403
        assert request("GET", url, headers=[("Host", "evil.example")]).status == 403
    assert TOKEN not in relay.output()


def test_on_loopback_the_same_tricks_find_nothing(start_relay: StartRelay) -> None:
    """Without a token: no page but its own, no foreign host, no other page's request."""
    relay = start_relay(CONFIG)
    host = f"Host: 127.0.0.1:{relay.admin_port}"
    for target in ("//metrics", "/..;/metrics", "/x/../metrics", "/livez", "/"):
        assert status_of(relay.admin_port, target, [host]) == 404, target
    url = f"{relay.admin_url}/metrics"
    assert request("GET", url).status == 200
    assert request("GET", url, headers=[("Host", "evil.example")]).status == 403
    assert request("POST", url, headers=[("Origin", "https://evil.example")]).status == 403
