"""A webhook in, a webhook out: what a sender and a downstream see of the real service."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import standardwebhooks
import stripe

from tests.support import Received, Receiver, RelayProcess, request

StartRelay = Callable[..., RelayProcess]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRIPE_SECRET = "whsec_test_of_the_journey"


def config(receiver: Receiver, source: str, *, route: str = "", destination: str = "") -> str:
    """One source named `in`, one destination named `out`, one route between them."""
    return f"""
sources:
  in: {source}
destinations:
  out: {{url: "{receiver.url}/sink", retry: {{first_wait: 100ms, jitter: 0}}{destination}}}
routes:
  - {{source: in, to: out{route}}}
"""


def sent_on(received: Received) -> list[tuple[bytes, bytes]]:
    """What a downstream got of the sender's headers, in order, names in lower case."""
    added = {
        b"idempotency-key",
        b"relay-event-id",
        b"relay-delivery-id",
        b"relay-source",
        b"relay-attempt",
        b"traceparent",
        b"host",
        b"content-length",
    }
    return [(name.lower(), value) for name, value in received.headers if name.lower() not in added]


def test_bytes_and_headers_arrive_as_they_were_posted(receiver: Receiver, start_relay: StartRelay) -> None:
    """A downstream gets the posted bytes and header list, duplicates in order, less what must not pass."""
    relay = start_relay(config(receiver, "{verify: none}"), true=True)
    body = b'{ "b":1,\n"a": "\xc3\xa9", "a":2 }\r\n'
    answer = relay.post(
        "in",
        body,
        headers=[
            ("Content-Type", "application/json; charset=utf-8"),
            ("X-Twice", "one"),
            ("X-Other", "ünï".encode()),
            ("X-Twice", "two"),
            ("Connection", "keep-alive, X-Private"),
            ("X-Private", "hop"),
            ("Cookie", "session=1"),
            ("Authorization", "Bearer secret"),
            ("TE", "trailers"),
            ("Relay-Source", "forged"),
            ("X-Hub-Signature-256", "sha256=abc"),
            ("X-Latin", b"caf\xe9"),
        ],
    )
    (received,) = receiver.wait(1)
    assert answer.status == 202
    assert received.body == body
    assert sent_on(received) == [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"x-twice", b"one"),
        (b"x-other", "ünï".encode()),
        (b"x-twice", b"two"),
        (b"x-hub-signature-256", b"sha256=abc"),
    ]
    assert received.values("relay-event-id") == [answer.json()["id"].encode()]
    assert received.values("relay-source") == [b"in"]
    assert received.values("relay-attempt") == [b"1"]
    assert received.header("idempotency-key") == received.header("relay-delivery-id")


def test_a_downstream_verifies_with_the_providers_own_library(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """What arrives still verifies with the Standard Webhooks library: not a byte was changed."""
    relay = start_relay(
        config(receiver, '{verify: {scheme: standard-webhooks, secrets: "${SECRET}"}}'),
        env={"SECRET": SECRET},
    )
    signer = standardwebhooks.Webhook(SECRET)
    body = '{"type":"invoice.paid","data":{"n":1.50}}'
    now = datetime.now(UTC)
    answer = relay.post(
        "in",
        body,
        headers=[
            ("content-type", "application/json"),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", str(int(now.timestamp()))),
            ("webhook-signature", signer.sign("msg_1", now, body)),
        ],
    )
    (received,) = receiver.wait(1)
    assert answer.status == 202
    assert signer.verify(received.body, {k.decode().lower(): v.decode() for k, v in received.headers})


def test_a_stripe_event_still_verifies_downstream(receiver: Receiver, start_relay: StartRelay) -> None:
    """Stripe's own library accepts what the downstream got; a forged one never got in."""
    relay = start_relay(
        config(receiver, '{verify: {scheme: stripe, secrets: "${SECRET}"}}'), env={"SECRET": STRIPE_SECRET}
    )
    body = '{"id":"evt_1","object":"event","type":"invoice.paid"}'
    stamp = int(time.time())
    digest = hmac.new(STRIPE_SECRET.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    good = relay.post("in", body, headers=[("Stripe-Signature", f"t={stamp},v1={digest}")])
    bad = relay.post("in", body, headers=[("Stripe-Signature", f"t={stamp},v1={'0' * 64}")])
    (received,) = receiver.wait(1)
    assert (good.status, bad.status) == (202, 401)
    signature = (received.header("stripe-signature") or b"").decode()
    event = stripe.Webhook.construct_event(received.body, signature, STRIPE_SECRET)
    assert event["type"] == "invoice.paid"
    relay.wait_log("event.rejected", reason="signature_mismatch")


def test_a_transform_sends_the_same_bytes_on_each_try(receiver: Receiver, start_relay: StartRelay) -> None:
    """A transformed request is rendered once: a retry sends the same bytes, without the MAC headers."""
    receiver.script(503, 200)
    route = """, when: 'body.kind == "wanted"', transform: {
      json: {n: "{{ body.n }}", text: "at {{ event.received_at }}"},
      headers: {X-Kind: "{{ body.kind }}"}}"""
    relay = start_relay(config(receiver, "{verify: none}", route=route))
    relay.post("in", '{"kind": "other", "n": 1}')
    relay.post("in", '{"kind": "wanted", "n": 7}')
    first, second = receiver.wait(2)
    assert first.body == second.body
    assert json.loads(first.body)["n"] == 7
    assert first.values("x-kind") == [b"wanted"]
    assert (first.header("relay-attempt"), second.header("relay-attempt")) == (b"1", b"2")
    assert first.header("idempotency-key") == second.header("idempotency-key")
    relay.wait_log("event.filtered", reason="no_match")


def test_the_second_posting_of_an_event_is_a_duplicate(receiver: Receiver, start_relay: StartRelay) -> None:
    """A second posting inside the window gets the first event's id; another body is kept as conflict."""
    relay = start_relay(config(receiver, "{verify: none, dedup: {key: body.id, window: 1h}}"))
    first = relay.post("in", '{"id": "a"}').json()
    again = relay.post("in", '{"id": "a"}').json()
    other = relay.post("in", '{"id": "a", "more": 1}')
    assert again == {"id": first["id"], "duplicate": True}
    assert other.status == 202
    assert other.json()["id"] != first["id"]
    relay.wait_log("event.conflict", event_id=other.json()["id"])
    assert len(receiver.wait(1)) == 1
    assert relay.cli("ledger").code == 0


def test_the_statuses_of_the_ingress(receiver: Receiver, start_relay: StartRelay) -> None:
    """Each refusal has the status that the table of answers gives it; an event without a route is kept."""
    relay = start_relay(
        f"""
sources:
  in: {{verify: none, max_body: 1KiB}}
  near: {{verify: none, allow_ips: 10.0.0.0/8}}
  idle: {{verify: none}}
  plant:
    verify: none
    path: "/plants/{{site}}/events"
    respond: {{status: 200, content_type: text/plain, body: ok}}
destinations:
  out: {{url: "{receiver.url}/"}}
routes:
  - {{source: in, to: out}}
  - {{source: plant, when: 'path.site == "berlin"', to: out}}
"""
    )
    assert relay.post("nowhere").status == 404
    assert relay.post("near").status == 403
    assert relay.post("idle").status == 202
    relay.wait_log("event.filtered", source="idle", reason="no_route")
    assert "sources.idle: no route" in str(relay.wait_log("config.warning")[0]["warnings"])
    refused = relay.get("/hooks/in")
    assert (refused.status, refused.header("allow")) == (405, "POST")
    assert relay.post("in", b"x" * 1025).status == 413
    assert relay.post("in", headers=[("Host", "a"), ("Host", "b")]).status == 400
    assert relay.post("in", headers=[("X-Big", "x" * 70_000)]).status == 431
    answer = relay.post("plants/berlin/events")
    assert (answer.status, answer.body) == (200, b"ok")
    assert relay.post("plants/..%2fadmin/events").status == 404
    assert relay.get("/metrics").status == 404
    assert relay.get("/docs").status == 404
    assert b"relay_events_total" in relay.get("/metrics", admin=True).body
    assert request("GET", f"{relay.admin_url}/metrics", headers=[("Host", "evil.example")]).status == 403
    assert relay.get("/livez").status == 200
