"""Signatures that are nearly right, and handshakes, through the real service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.support import Receiver, RelayProcess
from tests.support.http import Response, request

StartRelay = Callable[..., RelayProcess]

BODY = b'{"type": "a", "n": 1.0, "text": "\xc3\xa9"}'
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WEBHOOKS = "{verify: {scheme: standard-webhooks, secrets: ['${OLD}', '${NEW}']}}"
SECRETS = {"OLD": "whsec_" + base64.b64encode(b"the old one").decode(), "NEW": WHSEC}


def config(receiver: Receiver, **sources: str) -> str:
    """Sources that all lead to the one receiver."""
    named = "\n".join(f"  {name}: {source}" for name, source in sources.items())
    routes = "\n".join(f"  - {{source: {name}, to: out}}" for name in sources)
    return f"""
sources:
{named}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes:
{routes}
"""


def webhook(stamp: str, *, secret: str = WHSEC, body: bytes = BODY) -> list[tuple[str | bytes, str | bytes]]:
    """The headers of Standard Webhooks for this timestamp."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, b"msg_1.%b.%b" % (stamp.encode(), body), hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    return [("webhook-id", "msg_1"), ("webhook-timestamp", stamp), ("webhook-signature", signature)]


def answer_of(response: Response) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
    """All that a sender can tell answers apart by, but for the date."""
    shown = tuple(pair for pair in response.headers if pair[0] != "date")
    return response.status, response.body, shown


def test_only_the_bytes_and_the_time_that_were_signed(receiver: Receiver, start_relay: StartRelay) -> None:
    """JSON written anew, a stale or broken time and a foreign secret are refused; what is left arrives."""
    relay = start_relay(config(receiver, **{"in": WEBHOOKS}), env=SECRETS)
    now = int(time.time())
    good = webhook(str(now))
    bad = [
        (json.dumps(json.loads(BODY)).encode(), good, "mismatch"),
        (BODY, webhook(str(now - 310)), "stale"),
        (BODY, webhook(str(now + 310)), "stale"),
        (BODY, webhook(str(now * 1000)), "stale"),
        (BODY, webhook("abc"), "malformed"),
        (BODY, webhook("-1"), "malformed"),
        (BODY, [pair for pair in good if pair[0] != "webhook-timestamp"], "missing"),
        (BODY, [], "missing"),
        (BODY, [*good[:2], ("webhook-signature", "bad")], "malformed"),
        (BODY, [*good[:2], ("webhook-signature", "v1,bad v1,worse")], "mismatch"),
        (BODY, [*good[:2], ("webhook-signature", "v1,é".encode())], "mismatch"),
        (BODY, webhook(str(now), secret="whsec_" + base64.b64encode(b"foreign").decode()), "mismatch"),
    ]
    answers = {answer_of(relay.post("in", body, headers=headers)) for body, headers, _ in bad}
    assert len(answers) == 1
    assert next(iter(answers))[:2] == (401, b'{"error": "signature not accepted"}')
    lines = relay.wait_log("event.rejected", len(bad))
    assert [line["reason"] for line in lines] == [f"signature_{reason}" for _, _, reason in bad]
    assert {line["path"] for line in lines} == {"/hooks/in"}
    assert receiver.requests == []
    assert relay.post("in", BODY, headers=webhook(str(now - 290))).status == 202
    assert relay.post("in", BODY, headers=webhook(str(now + 290))).status == 202
    assert receiver.wait(2)[0].body == BODY


def test_both_secrets_and_any_of_several_signatures(receiver: Receiver, start_relay: StartRelay) -> None:
    """While a secret rolls both are taken, a good signature behind a bad one too; the log says which."""
    relay = start_relay(config(receiver, **{"in": WEBHOOKS}), env=SECRETS)
    stamp = str(int(time.time()))
    good = str(webhook(stamp)[2][1])
    assert relay.post("in", BODY, headers=webhook(stamp, secret=SECRETS["OLD"])).status == 202
    assert relay.post("in", BODY, headers=webhook(stamp)).status == 202
    listed = [*webhook(stamp)[:2], ("webhook-signature", f"bad v1,bad {good}")]
    assert relay.post("in", BODY, headers=listed).status == 202
    accepted = relay.wait_log("event.accepted", 3)
    assert [line["secret_index"] for line in accepted] == [0, 1, 1]
    assert len(receiver.wait(3)) == 3


def test_a_token_of_other_characters(receiver: Receiver, start_relay: StartRelay) -> None:
    """A token beyond ASCII is compared as bytes: never a 500, and right where it is right."""
    relay = start_relay(
        config(
            receiver,
            gitlab="{verify: {scheme: gitlab, secrets: '${TOKEN}'}}",
            key="{verify: {scheme: api-key, header: X-Key, secrets: '${TOKEN}'}}",
        ),
        env={"TOKEN": "é✓"},
    )
    for path, name in (("gitlab", "X-Gitlab-Token"), ("key", "X-Key")):
        for token in (b"\xe9", b"\xff\xfe", "é".encode(), b"x"):
            assert relay.post(path, BODY, headers=[(name, token)]).status == 401
        assert relay.post(path, BODY, headers=[(name, "é✓".encode())]).status == 202
    for delivered in receiver.wait(2):
        assert delivered.header("content-length") is not None
        assert delivered.header("x-gitlab-token") is delivered.header("x-key") is None


HANDSHAKES = {
    "meta": "{verify: {scheme: meta, secrets: '${KEY}', verify_token: '${TOKEN}'}, allow_ips: 10.0.0.0/8}",
    "x": "{verify: {scheme: x, secrets: '${KEY}'}}",
    "dropbox": "{verify: {scheme: dropbox, secrets: '${KEY}'}}",
    "graph": "{verify: {scheme: microsoft-graph, client_state: '${KEY}'}}",
    "zoom": "{verify: {scheme: zoom, secrets: '${KEY}'}}",
    "own": """
    verify: {scheme: github, secrets: "${KEY}"}
    handshake:
      - when: method == "GET" && has(query.challenge)
        respond: {status: 200, content_type: text/plain, body: "{{ query.challenge }}"}""",
}


def test_handshakes_are_answered_and_leave_no_trace(receiver: Receiver, start_relay: StartRelay) -> None:
    """Each is answered whatever the methods and addresses are, as plain text; none is stored or counted."""
    relay = start_relay(config(receiver, **HANDSHAKES), env={"KEY": "secret", "TOKEN": "token"})
    hub = "hub.mode=subscribe&hub.challenge=115&hub.verify_token"
    text = "<script>alert(1)</script>"
    stamp = str(int(time.time()))
    zoom = b'{"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}}'
    signature = hmac.new(b"secret", b"v0:%b:%b" % (stamp.encode(), zoom), hashlib.sha256).hexdigest()
    signed = [("x-zm-request-timestamp", stamp), ("x-zm-signature", f"v0={signature}")]

    def asked(method: str, path: str) -> Response:
        return request(method, f"{relay.url}/hooks/{path}")

    for method, path, content in (
        ("GET", f"meta?{hub}=token", b"115"),
        ("GET", f"dropbox?challenge={quote(text)}", text.encode()),
        ("GET", f"graph?validationToken={quote(text)}", text.encode()),
        ("POST", "graph?validationToken=a%20b", b"a b"),
        ("GET", f"own?challenge={quote(text)}", text.encode()),
    ):
        answer = asked(method, path)
        assert (answer.status, answer.body) == (200, content), path
        assert (answer.header("content-type") or "").startswith("text/plain")
        assert answer.header("x-content-type-options") == "nosniff"
    mac = base64.b64encode(hmac.digest(b"secret", b"abc", "sha256")).decode()
    assert asked("GET", "x?crc_token=abc").json() == {"response_token": f"sha256={mac}"}
    answer = relay.post("zoom", zoom, headers=signed)
    assert answer.json()["encryptedToken"] == hmac.digest(b"secret", b"abc", "sha256").hex()
    assert len(relay.wait_log("handshake.answered", 7)) == 7
    assert relay.cli("events", "--json").json()["events"] == []
    assert relay.log("event.rejected") == []
    ledger = relay.cli("ledger", "--json").json()
    assert not any(value for key, value in ledger.items() if key == "rejected"), ledger


def test_what_only_looks_like_a_handshake(receiver: Receiver, start_relay: StartRelay) -> None:
    """A stranger's questions are refused, and other requests go by method, address and signature."""
    relay = start_relay(config(receiver, **HANDSHAKES), env={"KEY": "secret", "TOKEN": "token"})
    hub = "hub.mode=subscribe&hub.challenge=115&hub.verify_token"
    for method, path, status in (
        ("GET", f"meta?{hub}=wrong", 403),
        ("GET", "x?crc_token=%7B%22a%22%3A1%7D", 403),
        ("GET", "meta", 405),
        ("GET", "dropbox", 405),
        ("PUT", "graph?validationToken=a", 405),
        ("GET", "zoom?challenge=a", 405),
        ("POST", "meta", 403),
        ("POST", "x", 401),
        ("POST", "graph", 401),
        ("POST", "own?challenge=a", 401),
        ("GET", "own", 405),
    ):
        body = b"{}" if method == "POST" else None
        assert request(method, f"{relay.url}/hooks/{path}", body=body).status == status, path
    reasons = [line["reason"] for line in relay.wait_log("event.rejected", 11)]
    assert reasons[:2] == ["handshake_verify_token", "handshake_crc_token"]
    assert relay.log("handshake.answered") == []


def test_a_batch_of_graph_with_a_forged_item(receiver: Receiver, start_relay: StartRelay) -> None:
    """One forged item among good ones refuses the whole batch."""
    relay = start_relay(config(receiver, graph=HANDSHAKES["graph"]), env={"KEY": "secret"})
    good, forged = {"clientState": "secret"}, {"clientState": "guessed"}
    for items, status in (([good], 202), ([good, forged], 401), ([forged, good], 401), ([], 401)):
        assert relay.post("graph", json.dumps({"value": items})).status == status
    assert len(receiver.wait(1)) == 1


@pytest.mark.parametrize(
    ("source", "env"),
    [
        ("{scheme: linear, secrets: '${KEY}'}", {"KEY": "secret"}),
        ("{scheme: mailgun, secrets: '${KEY}'}", {"KEY": "secret"}),
        ("{scheme: microsoft-graph, client_state: '${KEY}'}", {"KEY": "secret"}),
        ("{scheme: hubspot, secrets: '${KEY}'}", {"KEY": "secret"}),
        ("{scheme: paddle, secrets: '${KEY}'}", {"KEY": "secret"}),
        ("{scheme: jwt, secrets: '${KEY}'}", {"KEY": "a secret of thirty-two bytes, or more"}),
    ],
)
def test_relay_send_posts_as_the_provider_would(
    receiver: Receiver, start_relay: StartRelay, source: str, env: dict[str, str]
) -> None:
    """What stands in the body, the URL or a token is written as the provider writes it, and accepted."""
    relay = start_relay(config(receiver, **{"in": f"{{verify: {source}}}"}), env=env)
    assert "202" in relay.cli("send", "in").out
    assert len(receiver.wait(1)) == 1


def test_relay_send_refuses_where_only_the_provider_holds_the_key(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """The refusal says who holds the key; nothing is posted."""
    topic = "arn:aws:sns:eu-west-1:123456789012:orders"
    relay = start_relay(config(receiver, **{"in": f"{{verify: {{scheme: sns, topics: '{topic}'}}}}"}))
    ended = relay.cli("send", "in", check=False)
    assert ended.code == 2
    assert "only Amazon holds the key" in ended.err
    (line,) = relay.wait_log("config.loaded")
    assert line["experimental"] == ["in"]
    assert "sns is experimental" in relay.cli("check").out


def test_a_certificate_that_cannot_be_had_is_a_503(receiver: Receiver, start_relay: StartRelay) -> None:
    """The sender is told to come back, and nothing is stored; another topic is refused without a fetch."""
    topic = "arn:aws:sns:eu-west-1:123456789012:orders"
    text = config(receiver, **{"in": f"{{verify: {{scheme: sns, topics: '{topic}'}}}}"})
    relay = start_relay(text + "egress: {deny: [0.0.0.0/0, '::/0']}\n")
    fields = {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": topic,
        "Message": "hello",
        "Timestamp": "2023-11-14T22:13:20.000Z",
        "SignatureVersion": "2",
        "Signature": "AAAA",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    }
    answer = relay.post("in", json.dumps(fields))
    assert (answer.status, answer.header("retry-after")) == (503, "5")
    assert relay.post("in", json.dumps({**fields, "TopicArn": "other"})).status == 401
    reasons = [line["reason"] for line in relay.wait_log("event.rejected", 2)]
    assert reasons == ["certificate_unavailable", "signature_topic"]
    assert relay.cli("events", "--json").json()["events"] == []
