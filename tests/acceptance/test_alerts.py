"""Operators are told: what happens in a running service arrives where the file says."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import Receiver, RelayProcess, eventually
from tests.support.databases import Databases
from tests.support.mailbox import Mailbox
from tests.support.readers import reading

StartRelay = Callable[..., RelayProcess]


def alerts(chat: Receiver) -> dict[str, dict[str, Any]]:
    """What the chat was told, by kind; of one kind the first."""
    told: dict[str, dict[str, Any]] = {}
    for request in chat.requests:
        body = json.loads(request.body)
        told.setdefault(body["kind"], body)
    return told


def told(chat: Receiver, kinds: set[str], *, timeout: float = 20.0) -> dict[str, dict[str, Any]]:
    """The alerts once all of these kinds are there."""
    return eventually(
        lambda: found if kinds <= (found := alerts(chat)).keys() else None,
        timeout=timeout,
        describe=lambda: f"told of {sorted(alerts(chat))}, not of {sorted(kinds - alerts(chat).keys())}",
    )


def test_what_happens_is_told_where_the_file_says(receiver: Receiver, start_relay: StartRelay) -> None:
    """Deaths, breakers, pauses, failing expressions, refused requests and files arrive with their text."""
    with Receiver() as chat:
        receiver.script(410, path="/pauses")
        relay = start_relay(
            f"""
sources:
  in: {{verify: none}}
  locked: {{verify: {{scheme: bearer, secrets: sesame}}}}
destinations:
  chat: {{url: "{chat.url}/"}}
  dies: {{url: "{Receiver().url}/", retry: {{max_attempts: 1}}}}
  breaks: {{url: "{Receiver().url}/", breaker: {{failures: 1, cooldown: 60s}}}}
  pauses: {{url: "{receiver.url}/pauses"}}
routes:
  - {{source: in, to: [dies, breaks, pauses]}}
  - {{name: wrong, source: in, when: body.missing.deep, to: chat}}
alerts:
  - {{to: chat}}
"""
        )
        relay.post("in", '{"n": 1}')
        relay.post("locked", "{}")
        relay.config.write_text("sources: {")
        relay.cli("reload", check=False)
        relay.signal(signal.SIGHUP)
        kinds = {"dead", "breaker_open", "paused", "route_error", "rejected", "config_rejected"}
        found = told(chat, kinds)
    assert found["dead"]["about"] == "dies"
    assert "max_attempts" in found["dead"]["text"]
    assert found["breaker_open"]["about"] in {"breaks", "dies"}
    assert found["paused"]["about"] == "pauses"
    assert "410" in found["paused"]["text"]
    assert found["route_error"]["about"] == "wrong"
    assert found["rejected"]["about"] == "locked"
    assert all(body["count"] >= 1 for body in found.values())
    relay.wait_log("event.accepted", source="relay", type="dead")
    assert relay.cli("ledger").code == 0


def test_what_does_not_happen_is_told_too(receiver: Receiver, start_relay: StartRelay) -> None:
    """A backlog that grows old and a source that falls silent are noticed by a look at the journal."""
    with Receiver() as chat:
        relay = start_relay(
            f"""
sources:
  in: {{verify: none, silent_after: 1s}}
destinations:
  chat: {{url: "{chat.url}/"}}
  down: {{url: "{Receiver().url}/", breaker: null}}
routes:
  - {{source: in, to: down}}
alerts:
  - {{about: [lagging, source_silent], to: chat, lag: 1s}}
"""
        )
        relay.post("in", "{}")
        found = told(chat, {"lagging", "source_silent"}, timeout=60)
    assert found["lagging"]["about"] == "down"
    assert found["source_silent"]["about"] == "in"
    relay.wait_log("source.silent", source="in")


@contextmanager
def _transaction(url: str) -> Iterator[int]:
    """A session that begins a transaction and does not end it; yields the id of its process."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) FROM event")
        yield connection.info.backend_pid


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_who_keeps_the_journal_from_shrinking_is_told(
    kind: str, receiver: Receiver, start_relay: StartRelay, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of a file that is a reader once the log is large, of a database a transaction older than the lag."""
    if kind == "sqlite" and not Path("/proc/locks").exists():
        pytest.skip("the kernel does not tell who holds a lock")
    with ExitStack() as stack:
        chat = stack.enter_context(Receiver())
        path = tmp_path / "pinned.db"
        if kind == "sqlite":
            url = f"sqlite:///{path}"
        else:
            databases: Databases = request.getfixturevalue("databases")
            url = stack.enter_context(databases.one())
        relay = start_relay(
            f"""
sources: {{in: {{verify: none, max_body: 25MiB}}}}
destinations: {{chat: {{url: "{chat.url}/"}}, out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
alerts: [{{about: journal_pinned, to: chat, lag: 1s}}]
""",
            journal=url,
        )
        relay.post("in", "{}")
        pid = stack.enter_context(reading(path) if kind == "sqlite" else _transaction(url))
        for _ in range(4 if kind == "sqlite" else 0):
            assert relay.post("in", b" " * (20 << 20)).status == 202
        found = told(chat, {"journal_pinned"}, timeout=60)["journal_pinned"]
        assert f"process {pid} " in found["text"]
        ended = relay.cli("doctor", check=False) if kind == "sqlite" else None
        assert ended is None or f"process {pid} " in ended.out


def test_an_alert_about_a_death_goes_by_email_too(tmp_path: Path, start_relay: StartRelay) -> None:
    """A mailbox gets a subject that says what is the matter, and a text that says what to do.

    A replay is the same letter, also to a mailbox that was not told before.
    """
    with Mailbox(tmp_path) as mailbox:
        relay = start_relay(
            f"""
sources: {{in: {{verify: none}}}}
destinations:
  dies: {{url: "{Receiver().url}/", retry: {{max_attempts: 1}}}}
  mail: {{email: {{to: ops@example.com, from: relay@example.com, smtp: "smtp://127.0.0.1:{mailbox.port}"}}}}
  boss: {{email: {{to: boss@example.com, from: relay@example.com, smtp: "smtp://127.0.0.1:{mailbox.port}"}}}}
routes: [{{source: in, to: dies}}]
alerts: [{{about: dead, to: mail}}]
"""
        )
        relay.post("in", "{}")
        (letter,) = mailbox.wait(1)
        event = str(letter.message["Relay-Event-Id"])
        relay.cli("replay", event)
        relay.cli("replay", event, "--to", "boss")
        _, again, elsewhere = mailbox.wait(3)
    assert letter.message["Subject"] == "Relay: delivery given up: dies"
    assert "relay show dlv_" in letter.message.get_content()
    for one in (again, elsewhere):
        assert one.message["Subject"] == letter.message["Subject"]
        assert one.message.get_content() == letter.message.get_content()
    assert elsewhere.recipients == ("boss@example.com",)


def test_an_alert_that_dies_alerts_nobody(start_relay: StartRelay) -> None:
    """Where even the alert cannot be delivered, the log says so, and it ends there."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations:
  down: {{url: "{Receiver().url}/", retry: {{max_attempts: 1}}, breaker: null}}
routes: [{{source: in, to: down}}]
alerts: [{{about: dead, to: down}}]
"""
    )
    relay.post("in", "{}")
    (failed,) = relay.wait_log("alert.failed")
    assert (failed["destination"], failed["reason"]) == ("down", "max_attempts")
    assert len(relay.log("event.accepted", source="relay")) == 1
    assert len(relay.log("delivery.dead")) == 2
    assert relay.cli("ledger").code == 0
