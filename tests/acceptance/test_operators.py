"""What operators see of a failure, and how they make it right."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

import pytest

from tests.support import Fault, Receiver, RelayProcess, Reply

StartRelay = Callable[..., RelayProcess]


def github(secret: str, body: bytes, delivery: str) -> list[tuple[str, str]]:
    """The headers that GitHub sends with a body."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return [
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", delivery),
        ("X-Hub-Signature-256", f"sha256={digest}"),
    ]


def test_a_downstream_that_is_down_is_seen_told_and_made_right(start_relay: StartRelay) -> None:
    """Senders get 202; logs and `show` tell each attempt and the death; `retry` delivers it then."""
    down = Receiver()  # a port where nobody listens yet
    relay = start_relay(
        f"""
sources:
  github: {{verify: {{scheme: github, secrets: "${{SECRET}}"}}, dedup: 24h}}
destinations:
  ci:
    url: "{down.url}/ci"
    retry: {{first_wait: 200ms, factor: 1, jitter: 0, max_attempts: 3}}
routes:
  - {{source: github, when: 'event.type == "push"', to: ci}}
""",
        env={"SECRET": "s3cret"},
    )
    delivery_id = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    body = b'{"ref":"refs/heads/main"}'
    answer = relay.post("github", body, headers=github("s3cret", body, delivery_id))
    assert answer.status == 202

    (dead,) = relay.wait_log("delivery.dead")
    assert (dead["level"], dead["provider_id"], dead["reason"]) == ("error", delivery_id, "max_attempts")
    attempts = relay.log("attempt.finished")
    assert [(line["attempt"], line["decision"]) for line in attempts] == [
        (1, "retry"),
        (2, "retry"),
        (3, "dead"),
    ]
    assert {line["outcome"] for line in attempts} == {"connect_error"}
    assert all("next_attempt_at" in line for line in attempts[:2])

    shown = relay.cli("show", delivery_id, "--json").json()
    text = relay.cli("show", delivery_id).out
    assert "connect_error" in text
    assert "all of `max_attempts` were made" in text
    assert json.dumps(shown).count("connect_error") >= 3
    assert "ci" in relay.cli("status").out
    assert relay.cli("deliveries", "--state", "dead", "--json").code == 0

    with down:
        assert "1" in relay.cli("retry", delivery_id).out
        (received,) = down.wait(1)
        assert received.body == body
        assert received.header("relay-attempt") == b"4"
        relay.wait_log("attempt.finished", decision="delivered")
        assert relay.cli("ledger").code == 0


def test_a_hanging_destination_does_not_hold_another(receiver: Receiver, start_relay: StartRelay) -> None:
    """With every slot of one destination hanging, the other gets all its events."""
    receiver.always = Reply(fault=Fault.HANG)
    with Receiver() as healthy:
        relay = start_relay(
            f"""
sources: {{in: {{verify: none}}}}
destinations:
  hangs: {{url: "{receiver.url}/", timeout: 20s, limits: {{concurrency: 2}}}}
  works: {{url: "{healthy.url}/", limits: {{concurrency: 2}}}}
routes:
  - {{source: in, to: [hangs, works]}}
"""
        )
        for _ in range(40):
            assert relay.post("in").status == 202
        assert len(healthy.wait(40)) == 40
        assert len(receiver.requests) <= 2
        relay.kill9()


def test_sigterm_releases_what_is_in_flight(receiver: Receiver, start_relay: StartRelay) -> None:
    """SIGTERM waits for the grace, hands back what is unfinished, exits 0; the next process delivers it."""
    receiver.script(Reply(fault=Fault.HANG))
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
""",
        env={"RELAY_GRACE": "1s"},
    )
    relay.post("in", '{"n": 1}')
    receiver.wait(1)
    assert relay.term() == 0
    relay.start()
    first, second = receiver.wait(2)
    assert first.header("idempotency-key") == second.header("idempotency-key")
    assert second.header("relay-attempt") == b"2"
    relay.wait_log("attempt.finished", decision="delivered")
    shown = relay.cli("show", second.values("relay-delivery-id")[0].decode(), "--json").out
    assert "interrupted" in shown
    assert relay.cli("ledger").code == 0


def test_three_destinations_of_which_one_cannot_be_rendered(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """A delivery that blows up inside dies alone, with its reason; its two neighbours are delivered."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations:
  a: {{url: "{receiver.url}/a"}}
  b: {{url: "{receiver.url}/b"}}
  c: {{url: "{receiver.url}/c"}}
routes:
  - {{source: in, to: a, transform: {{json: {{x: "{{{{ body.missing.deep }}}}"}}}}}}
  - {{source: in, to: [b, c]}}
"""
    )
    relay.post("in", '{"n": 1}')
    assert sorted(one.path for one in receiver.wait(2)) == ["/b", "/c"]
    (dead,) = relay.wait_log("delivery.dead")
    assert (dead["destination"], dead["outcome"]) == ("a", "transform_error")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("verify: none", 'verify: {scheme: github, secrets: "${NOT_SET}"}'), "NOT_SET"),
        (("destinations:", "destination:"), "destinations"),
        (("to: out", "to: outt"), "out"),
    ],
    ids=["unset variable", "misspelt key", "route to nowhere"],
)
def test_a_mistake_in_the_file_is_one_clear_message(
    start_relay: StartRelay, change: tuple[str, str], said: str
) -> None:
    """A new user's mistake ends with exit code 2 and its line, not with a traceback."""
    good = """sources:
  in: {verify: none}
destinations:
  out: {url: "http://127.0.0.1:9/"}
routes:
  - {source: in, to: out}
"""
    relay = start_relay(good.replace(*change), start=False)
    for command in ("serve", "check"):
        ended = relay.cli(command, check=False)
        text = ended.out + ended.err
        assert ended.code == 2
        assert said in text
        assert "relay.yaml:" in text
        assert "Traceback" not in text


def test_a_port_in_use_and_a_journal_that_cannot_be_written(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """A port that is taken and a folder that is not there are one clear message and exit code 2 each."""
    good = """sources: {in: {verify: none}}
destinations: {out: {url: "http://127.0.0.1:9/"}}
routes: [{source: in, to: out}]
"""
    taken = start_relay(good, start=False, env={"RELAY_PORT": str(receiver.port)})
    ended = taken.cli("serve", check=False)
    assert ended.code == 2
    assert str(receiver.port) in ended.err
    lost = start_relay(good, start=False, journal="sqlite:////nonexistent/folder/relay.db")
    ended = lost.cli("serve", check=False)
    assert ended.code == 2
    assert "/nonexistent/folder" in ended.err
    assert "Traceback" not in ended.out + ended.err
