"""How Relay calls a downstream, as the file says: its URL, its credentials and its signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook

from tests.support import Receiver, RelayProcess, Reply

StartRelay = Callable[..., RelayProcess]

SECRETS = tuple(
    "whsec_" + base64.b64encode(text).decode() for text in (b"the first secret of two", b"the second secret")
)


def config(destination: str) -> str:
    """One source, one destination of these lines, one route."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out:
    retry: {{first_wait: 100ms, max_attempts: 3}}
{destination}
routes: [{{source: in, to: out}}]
"""


def test_holes_in_the_url_are_filled_and_encoded(receiver: Receiver, start_relay: StartRelay) -> None:
    """A value of the event is one segment or one field, and the sender's query comes behind."""
    url = f"{receiver.url}/orders/{{{{ body.id }}}}?by={{{{ event.source }}}}"
    relay = start_relay(config(f"    url: '{url}'\n    query: forward\n    method: PUT"))
    relay.post("in?b=%2F&a=1", json.dumps({"id": "../ä?x"}))
    (received,) = receiver.wait()
    assert (received.method, received.target) == ("PUT", "/orders/..%2F%C3%A4%3Fx?by=in&b=%2F&a=1")


@pytest.mark.parametrize("body", ['{"id": ".."}', '{"id": ""}', "{}"], ids=["up", "empty", "missing"])
def test_a_url_that_cannot_be_filled_kills_the_delivery(
    receiver: Receiver, start_relay: StartRelay, body: str
) -> None:
    """It is dead at once as a transform error, and nobody is called."""
    relay = start_relay(config(f"    url: '{receiver.url}/orders/{{{{ body.id }}}}'"))
    relay.post("in", body)
    (dead,) = relay.wait_log("delivery.dead")
    assert dead["outcome"] == "transform_error"
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ("{type: bearer, token: t0ken}", "Authorization", b"Bearer t0ken"),
        ("{type: basic, username: u, password: p}", "Authorization", b"Basic dTpw"),
        ("{type: api-key, header: X-Key, value: k}", "X-Key", b"k"),
    ],
)
def test_credentials_are_sent(
    receiver: Receiver, start_relay: StartRelay, auth: str, name: str, value: bytes
) -> None:
    """They are there once, in place of what the sender wrote, and in no log line."""
    relay = start_relay(config(f"    url: {receiver.url}/\n    auth: {auth}"))
    relay.post("in", headers=((name, "stolen"),))
    (received,) = receiver.wait()
    assert received.values(name) == [value]
    relay.wait_log("attempt.finished")
    assert "t0ken" not in relay.output()


def test_an_api_key_in_the_query_is_sent(receiver: Receiver, start_relay: StartRelay) -> None:
    """It is appended to the URL, encoded."""
    auth = '{type: api-key, query: key, value: "a b"}'
    relay = start_relay(config(f"    url: {receiver.url}/?x=1\n    auth: {auth}"))
    relay.post("in")
    (received,) = receiver.wait()
    assert received.target == "/?x=1&key=a%20b"


def test_a_token_is_fetched_once_and_again_after_a_401(receiver: Receiver, start_relay: StartRelay) -> None:
    """One token serves all deliveries; one that the API refuses is replaced within the attempt."""
    receiver.script(
        *[
            Reply(body=json.dumps({"access_token": name, "expires_in": 3600}).encode())
            for name in ("t1", "t2")
        ],
        path="/token",
    )
    auth = (
        f"{{type: oauth2, token_url: {receiver.url}/token, client_id: c, client_secret: hush, scope: hooks}}"
    )
    relay = start_relay(config(f"    url: {receiver.url}/api\n    auth: {auth}"))
    for _ in range(5):
        relay.post("in")
    relay.wait_log("attempt.finished", 5, outcome="delivered")
    receiver.script(401, path="/api")
    relay.post("in")
    relay.wait_log("attempt.finished", 6, outcome="delivered")
    asked = [request for request in receiver.requests if request.path == "/token"]
    sent = [request.header("authorization") for request in receiver.requests if request.path == "/api"]
    assert [request.body for request in asked] == [b"grant_type=client_credentials&scope=hooks"] * 2
    assert asked[0].header("authorization") == b"Basic " + base64.b64encode(b"c:hush")
    assert sent == [b"Bearer t1"] * 6 + [b"Bearer t2"]


def test_without_a_token_the_delivery_waits(receiver: Receiver, start_relay: StartRelay) -> None:
    """A token's endpoint that fails is a connect error, tried again like any other."""
    receiver.script(Reply(503), Reply(body=b'{"access_token": "t1"}'), path="/token")
    auth = f"{{type: oauth2, token_url: {receiver.url}/token, client_id: c, client_secret: hush}}"
    relay = start_relay(config(f"    url: {receiver.url}/api\n    auth: {auth}"))
    relay.post("in")
    (first,) = relay.wait_log("attempt.finished", outcome="connect_error")
    assert first["error"] == "no token from 127.0.0.1: HTTP 503"
    relay.wait_log("attempt.finished", outcome="delivered")
    assert "hush" not in relay.output()


def test_a_downstream_verifies_relays_signature(receiver: Receiver, start_relay: StartRelay) -> None:
    """Every attempt is signed anew under one id, and either of two secrets verifies it."""
    receiver.script(500)
    sign = f"{{scheme: standard-webhooks, secrets: [{SECRETS[0]}, {SECRETS[1]}]}}"
    relay = start_relay(config(f"    url: {receiver.url}/\n    sign: {sign}"))
    relay.post("in", '{"a":1}', headers=(("webhook-id", "msg_1"), ("webhook-signature", "v1,forged")))
    requests = receiver.wait(2)
    for request in requests:
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        for secret in SECRETS:
            assert Webhook(secret).verify(request.body, headers) == {"a": 1}
    ids = {request.header("webhook-id") for request in requests}
    assert ids == {request.header("idempotency-key") for request in requests}
    assert len(ids) == 1
