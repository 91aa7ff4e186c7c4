"""Requests that are broken, too large, slow or curious, against the real service."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import resource
import socket
from collections.abc import Callable, Iterator

from tests.support import Receiver, RelayProcess
from tests.support.http import request

StartRelay = Callable[..., RelayProcess]

IDLE = 2_000
HEAD = b"POST /hooks/in HTTP/1.1\r\nHost: relay\r\n"


def config(receiver: Receiver, source: str = "{verify: none}", name: str = "in") -> str:
    """One source, one destination, one route."""
    return f"""
sources: {{{name}: {source}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: {name}, to: out}}]
"""


def exchange(relay: RelayProcess, sent: bytes) -> bytes:
    """Everything that comes back on a connection of its own until the service closes it."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as peer:
        answer = b""
        with contextlib.suppress(ConnectionError):  # it may be closed before all was read
            peer.sendall(sent)
            while chunk := peer.recv(65536):
                answer += chunk
        return answer


FRAMINGS = {
    "length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a signed length": b"Content-Length: +4\r\n\r\n{  }",
    "two hosts": b"Host: other\r\nContent-Length: 2\r\n\r\n{}",
    "a bare line feed": b"X: y\nContent-Length: 2\r\n\r\n{}",
}


def test_smuggling(receiver: Receiver, start_relay: StartRelay) -> None:
    """What two servers could read in two ways is refused and its connection closed, with what follows it."""
    relay = start_relay(config(receiver))
    follower = HEAD + b"Content-Length: 8\r\n\r\nsmuggled"
    for name, framing in FRAMINGS.items():
        answer = exchange(relay, HEAD + framing + follower)
        assert answer.startswith(b"HTTP/1.1 400 "), name
        assert answer.count(b"HTTP/1.1 ") == 1, name
    assert relay.post("in", b"honest").status == 202
    assert [got.body for got in receiver.wait(1)] == [b"honest"]
    assert len(relay.cli("events", "--json").json()["events"]) == 1


def test_a_flood_of_headers(receiver: Receiver, start_relay: StartRelay) -> None:
    """Headers without end are refused long before they are a burden."""
    relay = start_relay(config(receiver))
    before = relay.rss
    answer = exchange(relay, HEAD + b"X: " + b"y" * (100 * 1024 * 1024))
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""
    assert relay.rss - before < 16 * 1024 * 1024
    assert exchange(relay, HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert relay.post("in").status == 202


def test_the_limit_of_a_body(receiver: Receiver, start_relay: StartRelay) -> None:
    """`max_body` bytes are taken, one more is refused: declared, in chunks, or in chunks that never end."""
    relay = start_relay(config(receiver, "{verify: none, max_body: 4KiB}"))
    chunks = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert relay.post("in", b"x" * 4096).status == 202
    assert relay.post("in", b"x" * 4097).status == 413
    assert exchange(relay, HEAD + chunks + b"1000\r\n%b\r\n0\r\n\r\n" % (b"x" * 4096)).startswith(
        b"HTTP/1.1 202 "
    )
    assert exchange(relay, HEAD + chunks + b"1001\r\n%b\r\n0\r\n\r\n" % (b"x" * 4097)).startswith(
        b"HTTP/1.1 413 "
    )
    assert exchange(relay, HEAD + chunks + b"400\r\n%b\r\n" % (b"x" * 1024) * 8).startswith(b"HTTP/1.1 413 ")
    assert b" 413 " in exchange(relay, HEAD + b"Content-Length: 99999999999\r\n\r\n")[:20]
    assert [len(got.body) for got in receiver.wait(2)] == [4096, 4096]
    reasons = {line["reason"] for line in relay.wait_log("event.rejected", 4)}
    assert reasons == {"too_large"}


def test_a_compressed_body_is_bytes_like_any_other(receiver: Receiver, start_relay: StartRelay) -> None:
    """Nothing is unpacked: the signature is of the compressed bytes, which go on with their encoding."""
    relay = start_relay(
        config(receiver, "{verify: {scheme: github, secrets: '${KEY}'}, max_body: 64KiB}"),
        env={"KEY": "secret"},
    )
    bomb = gzip.compress(b"0" * 32 * 1024 * 1024)
    mac = hmac.new(b"secret", bomb, hashlib.sha256).hexdigest()
    headers = [("Content-Encoding", "gzip"), ("X-Hub-Signature-256", f"sha256={mac}")]
    before = relay.rss
    assert relay.post("in", bomb, headers=headers).status == 202
    (got,) = receiver.wait(1)
    assert got.body == bomb
    assert got.header("content-encoding") == b"gzip"
    assert relay.rss - before < 16 * 1024 * 1024


@contextlib.contextmanager
def idle(relay: RelayProcess, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send nothing, half a head, or a body that does not come, as files allow."""
    begun = (b"", b"POST /hooks/in HT", HEAD, HEAD + b"Content-Length: 1000\r\n\r\nx")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        peers = []
        for number in range(min(count, files - 200)):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port), timeout=20))
            peer.sendall(begun[number % len(begun)])
            peers.append(peer)
        yield peers


def unread(peer: socket.socket) -> bytes:
    """What has come back on a connection by now."""
    peer.settimeout(0)
    try:
        return peer.recv(1000)
    except (BlockingIOError, ConnectionError):
        return b""


def test_slow_senders_hinder_nobody(receiver: Receiver, start_relay: StartRelay) -> None:
    """Beside two thousand sockets that do not go on, whoever sends is served, and none of them gets a 5xx."""
    relay = start_relay(config(receiver))
    with idle(relay, IDLE) as peers:
        assert {relay.post("in", b"%d" % number).status for number in range(50)} == {202}
        assert relay.get("/readyz").status == 200
        assert len(receiver.wait(50)) == 50
        assert not any(b" 5" in answer[:10] for answer in map(unread, peers))
    assert relay.log("internal.error") == []


def test_a_placeholder_is_one_segment(receiver: Receiver, start_relay: StartRelay) -> None:
    """A path that climbs, breaks or hides is no source, or text that is one encoded segment further on."""
    text = config(receiver, "{path: '/plants/{site}', verify: none}")
    relay = start_relay(text.replace(f"{receiver.url}/", f"{receiver.url}/out/{{{{ path.site }}}}"))
    hostile = ["..%2fadmin", "%2e%2e", "a%00b", "a/b", "a/", "", ".", "a%0ab", "%2e", "a%2fb%2f..%2f.."]
    for path in hostile:
        answer = request("POST", f"{relay.url}/hooks/plants/{path}", body=b"{}")
        assert (answer.status, answer.body) == (404, b'{"error": "no such source"}'), path
    for number, (path, sent) in enumerate(
        (("b%20%C3%BC", "b%20%C3%BC"), ("..%5cadmin", "..%5Cadmin"), ("%3fa%23b", "%3Fa%23b")), 1
    ):
        assert request("POST", f"{relay.url}/hooks/plants/{path}", body=b"{}").status == 202
        assert receiver.wait(number)[-1].path == f"/out/{sent}"


SOURCES = """
sources:
  in: {verify: {scheme: github, secrets: "${KEY}"}}
  token: {verify: {scheme: bearer, secrets: "${KEY}"}}
  key: {verify: {scheme: api-key, header: X-Key, secrets: "${KEY}"}}
"""


def test_a_refusal_tells_nothing(receiver: Receiver, start_relay: StartRelay) -> None:
    """No secret, one that is nearly right and a wrong kind get the same answer, and it names no scheme."""
    text = config(receiver).replace("sources: {in: {verify: none}}\n", SOURCES)
    relay = start_relay(text, env={"KEY": "canary-secret"})
    good = hmac.new(b"canary-secret", b"{}", hashlib.sha256).hexdigest()
    answers = set()
    for path, headers in (
        ("in", []),
        ("in", [("X-Hub-Signature-256", f"sha256={good[:-1]}0")]),
        ("in", [("X-Hub-Signature-256", "nonsense")]),
        ("token", []),
        ("token", [("Authorization", "Bearer canary-secreT")]),
        ("token", [("Authorization", "Basic eDp5")]),
        ("key", [("X-Key", "canary-secret ")]),
        ("key", [("X-Key", "canary")]),
    ):
        answer = relay.post(path, "{}", headers=headers)
        shown = tuple(pair for pair in answer.headers if pair[0] != "date")
        answers.add((answer.status, answer.body, shown))
    assert len(answers) == 1
    assert next(iter(answers))[:2] == (401, b'{"error": "signature not accepted"}')
    unknown = relay.post("nobody")
    assert (unknown.status, unknown.body) == (404, b'{"error": "no such source"}')
    assert "canary" not in relay.output()
