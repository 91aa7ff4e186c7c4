"""Hostile input through the real service: it is taken and forwarded, or refused, and harms no neighbour."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

import pytest

from tests.support import Receiver, RelayProcess, Reply, eventually
from tests.support.http import Response

StartRelay = Callable[..., RelayProcess]

BODIES = {
    "a hundred thousand brackets": b"[" * 100_000,
    "seven thousand deep": b'{"a":' * 7_000 + b"1" + b"}" * 7_000,
    "a number of 5,000 digits": b'{"type": "x", "n": ' + b"9" * 5_000 + b"}",
    "bad UTF-8": b'{"type": "\xff\xfe"}',
    "lone surrogates": rb'{"type": "\ud800", "id": "\udfff"}',
    "NUL": b'{"type": "\\u0000", "id": "\x00"}',
    "empty": b"",
}


def test_a_hostile_body_is_forwarded_byte_for_byte(receiver: Receiver, start_relay: StartRelay) -> None:
    """A body that no parser takes is accepted and forwarded, although routes and keys look into it."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none, dedup: {{key: body.id, window: 1h}}}}}}
destinations: {{out: {{url: "{receiver.url}/", order: {{key: body.id}}}}}}
routes:
  - {{name: looks, source: in, when: 'body.type == "x"', to: out}}
  - {{name: all, source: in, to: out}}
"""
    )
    too_deep = {}
    for name, body in BODIES.items():
        answer = relay.post("in", body)
        assert answer.status == 202, name
        (accepted,) = relay.wait_log("event.accepted", event_id=answer.json()["id"])
        too_deep[name] = accepted.get("body_unparsed") == "too_deep"
    assert {name for name, is_deep in too_deep.items() if is_deep} == {
        "a hundred thousand brackets",
        "seven thousand deep",
    }
    eventually(lambda: {one.body for one in receiver.requests} == set(BODIES.values()))
    assert relay.get("/readyz").status == 200


def test_a_hundred_senders_of_one_key(receiver: Receiver, start_relay: StartRelay) -> None:
    """One dedup key from a hundred senders at once is one event; each of them gets a 202 with its id."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none, dedup: {{key: body.id, window: 1h}}}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    answers = []

    def send() -> None:
        answers.append(relay.post("in", '{"id": "one"}'))

    senders = [threading.Thread(target=send) for _ in range(100)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("duplicate" in answer.json() for answer in answers) == 99
    assert len(receiver.wait(1)) == 1


def test_a_redelivery_revives_the_one_that_died(receiver: Receiver, start_relay: StartRelay) -> None:
    """Of three deliveries one died; posting the event again delivers that one alone."""
    receiver.script(500, path="/b")
    relay = start_relay(
        f"""
sources: {{in: {{verify: none, dedup: {{key: body.id, window: 1h}}}}}}
destinations:
  a: {{url: "{receiver.url}/a"}}
  b: {{url: "{receiver.url}/b", retry: {{max_attempts: 1}}}}
  c: {{url: "{receiver.url}/c"}}
routes: [{{source: in, to: [a, b, c]}}]
"""
    )
    relay.post("in", '{"id": "one"}')
    relay.wait_log("delivery.dead", destination="b")
    receiver.wait(3)
    assert relay.post("in", '{"id": "one"}').json()["duplicate"] is True
    received = receiver.wait(4)
    assert received[3].path == "/b"
    relay.wait_log("attempt.finished", destination="b", decision="delivered")
    assert len(receiver.requests) == 4
    assert relay.cli("ledger").code == 0


def test_log_lines_stay_lines(receiver: Receiver, start_relay: StartRelay) -> None:
    """Newlines, ANSI codes and line separators of a sender or a downstream stay inside their line."""
    receiver.always = Reply(status=400, body=b"\x1b[31mred\n\xe2\x80\xa8fake")
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/", retry: {{max_attempts: 1}}}}}}
routes: [{{source: in, to: out}}]
"""
    )
    relay.post("in%0a%1b[31mfake%e2%80%a8line%0d")
    relay.post("in", headers=[("X-Evil", b"\xe2\x80\xa8\xc2\x85evil")])
    relay.wait_log("delivery.dead")
    relay.wait_log("event.rejected")
    raw = (relay.folder / "serve-1.out").read_bytes()
    assert raw.isascii()
    assert b"\x1b" not in raw
    assert all(line.startswith(b"{") for line in raw.splitlines())
    shown = relay.cli("deliveries").out + relay.cli("show", relay.log("delivery.dead")[0]["event_id"]).out
    assert "\x1b" not in shown
    assert "\u2028" not in shown


def test_no_path_is_corrected_by_a_redirect(receiver: Receiver, start_relay: StartRelay) -> None:
    """What is no hook and no probe is 404; a redirect would name whatever host the sender named."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    assert [relay.get(path).status for path in ("/hooks", "/hooks/in/", "/livez/", "/readyz/")] == [404] * 4


PATHS = {
    "plants/berlin/events": "/site/berlin",
    "plants/..%2fadmin/events": None,
    "plants/%2e%2e/events": None,
    "plants/a%00b/events": None,
    "plants/../admin": None,
    "plants/a%3fb=1%23c/events": "/site/a%3Fb%3D1%23c",
    "plants/a%25%32%66b/events": "/site/a%252fb",
    "..%2fin": None,
    "%2e%2e/livez": None,
}
"""What each path is sent as; None is 404."""


def test_a_path_catches_one_segment_and_sends_it_as_one(receiver: Receiver, start_relay: StartRelay) -> None:
    """What is no plain segment is 404; what is one cannot leave its place in a downstream's URL."""
    relay = start_relay(
        f"""
sources: {{plant: {{verify: none, path: "/plants/{{site}}/events"}}}}
destinations: {{out: {{url: "{receiver.url}/site/{{{{ path.site }}}}"}}}}
routes: [{{source: plant, to: out}}]
"""
    )
    assert {path: relay.post(path).status for path in PATHS} == {
        path: 404 if target is None else 202 for path, target in PATHS.items()
    }
    sent = {target for target in PATHS.values() if target is not None}
    relay.wait_log("event.rejected", list(PATHS.values()).count(None), reason="unknown_source")
    assert {one.target for one in receiver.wait(len(sent))} == sent


def slowest_answer(relay: RelayProcess, done: threading.Event) -> float:
    """The longest that /livez took until `done`: how long the event loop did nothing else."""
    slowest = 0.0
    while not done.is_set():
        began = time.monotonic()
        assert relay.get("/livez").status == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.005)
    return slowest


HEAVY = {
    "a regex on 50 KB": ('body.t.matches("(a+)+$")', b'{"t": "' + b"a" * 50_000 + b'!"}'),
    "a macro over 100,000": ("body.list.exists(x, x == 0)", b'{"list": [' + b"1," * 99_999 + b"1]}"),
    "a 25 MB body": ("body.n == 1", b'{"n": 2, "pad": "' + b"x" * (25_000_000 - 19) + b'"}'),
    "25 MB of brackets": ("body.n == 1", b"[" * 25_000_000),
    "raw above parse": ('raw.contains("y")', b"x" * 2_000_000),
}


@pytest.mark.parametrize(("when", "body"), HEAVY.values(), ids=HEAVY)
def test_a_heavy_expression_holds_nobody_up(
    receiver: Receiver, start_relay: StartRelay, when: str, body: bytes
) -> None:
    """Each event takes bounded time, is kept all the same, and the service answers others meanwhile."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none, max_body: 25MiB}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes:
  - {{name: heavy, source: in, when: '{when}', to: out}}
  - {{name: all, source: in, to: out}}
"""
    )
    relay.post("in", b"warm")
    done = threading.Event()
    answers: list[Response] = []

    def send() -> None:
        try:
            answers.extend(relay.post("in", body, timeout=60) for _ in range(3))
        finally:
            done.set()

    sender = threading.Thread(target=send)
    sender.start()
    slowest = slowest_answer(relay, done)
    sender.join()
    assert [answer.status for answer in answers] == [202] * 3
    assert slowest < 1.0  # 0.05 s where it was measured, 0.2 s is the aim; the rest is for a busy machine
    assert [one.body == body for one in receiver.wait(4)[1:]] == [True] * 3


def test_a_macro_in_a_macro_is_refused_before_anything_runs(start_relay: StartRelay) -> None:
    """`check` names the place: such a program could hold every thread for minutes."""
    relay = start_relay(
        """
sources: {in: {verify: none}}
destinations: {out: {url: "http://127.0.0.1:9/"}}
routes:
  - {source: in, when: 'body.a.exists(x, body.b.all(y, y == x))', to: out}
""",
        start=False,
    )
    ended = relay.cli("check", check=False)
    assert ended.code == 2
    assert "relay.yaml:5:" in ended.err
    assert "a macro inside a macro" in ended.err


def test_bodies_that_wait_for_a_journal_have_a_bound(receiver: Receiver, start_relay: StartRelay) -> None:
    """While another process holds the journal, 256 MiB of bodies are kept; what comes on top hears 503."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none, max_body: 25MiB}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    answers = []
    body = bytes(24 * 1024 * 1024)

    def send() -> None:
        answers.append(relay.post("in", body, timeout=30))

    other = sqlite3.connect(relay.folder / "relay.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        senders = [threading.Thread(target=send) for _ in range(13)]
        for sender in senders:
            sender.start()
            time.sleep(0.08)  # one after the other, so that what is in receipt stays far below the bound
        for sender in senders:
            sender.join()
    finally:
        other.close()
    assert {answer.status for answer in answers} == {503}
    assert {answer.header("retry-after") for answer in answers} == {"5"}
    relay.wait_log("event.rejected", reason="memory")
    relay.wait_log("event.rejected", reason="journal_unavailable")
    eventually(lambda: relay.post("in").status == 202)
