"""What is answered before any event: only a provider's own questions, and never with a signed event."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from relay.errors import SignatureError
from relay.model import Request
from relay.signatures import Answer, Scheme
from tests.unit.signatures.helpers import EXAMPLES, URL, parser, request, scheme, signed, verdict


def asking(method: str = "GET", **query: str) -> Request:
    """A request without body and headers, with these parameters."""
    return request(b"", (), url=f"{URL}?{urlencode(query)}", method=method)


def answered(made: Scheme, body: Any) -> Answer | None:
    """What a signed body is answered, after it verified."""
    sent = signed(made, json.dumps(body).encode())
    assert verdict(made, sent) == 0
    return made.answer(sent, parser(sent))


def subscribing(**changes: str) -> Request:
    """Meta's question."""
    query = {"hub.mode": "subscribe", "hub.verify_token": "token", "hub.challenge": "1158201444"}
    return asking(**{**query, **changes})


def test_meta_is_answered_its_challenge_by_who_knows_the_token() -> None:
    """hub.challenge comes back as text for one of the verify tokens, and for no other and no other mode."""
    made = scheme("meta", verify_token=[b"old", b"token", "é".encode()])
    assert made.greet(subscribing()) == Answer(200, "text/plain", b"1158201444")
    assert made.greet(subscribing(**{"hub.verify_token": "é"})) is not None
    for changes in ({"hub.verify_token": "Token"}, {"hub.verify_token": ""}, {"hub.mode": "unsubscribe"}):
        with pytest.raises(SignatureError, match=r"hub\.verify_token"):
            made.greet(subscribing(**changes))
    assert made.greet(asking()) is None
    assert made.greet(asking(**{"hub.mode": "subscribe"})) is None
    assert made.secret_query == {"hub.verify_token"}
    assert "token" not in repr(made.greeting)


def test_meta_without_a_verify_token_answers_nothing() -> None:
    """A source that has none in its file takes part in no subscription."""
    assert scheme("meta", verify_token=None).greet(subscribing()) is None


def test_the_crc_of_x_is_the_tokens_mac() -> None:
    """A token is answered with its MAC by the first secret."""
    made = scheme("x", secrets=[b"first", b"second"])
    token = "AZaz09._~+/=-"
    answer = made.greet(asking(crc_token=token))
    assert answer is not None
    mac = base64.b64encode(hmac.digest(b"first", token.encode(), hashlib.sha256)).decode()
    assert json.loads(answer.body) == {"response_token": f"sha256={mac}"}
    assert made.greet(asking()) is None
    assert made.greet(asking("POST", crc_token=token)) is None


@pytest.mark.parametrize("token", ['{"for_user_id":"1"}', "a b", "a:b", "é", "", "a\n", "a" * 1025, "[]"])
def test_x_signs_no_text_of_a_stranger(token: str) -> None:
    """Whoever could have a body of an event answered as a token would have a forged event signed."""
    with pytest.raises(SignatureError, match="crc_token"):
        scheme("x").greet(asking(crc_token=token))


def test_zoom_is_answered_its_token() -> None:
    """A signed url_validation is answered with the token and its MAC by the first secret, in hex."""
    made = scheme("zoom")
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    answer = answered(made, body)
    assert answer is not None
    mac = hmac.new(b"secret", b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert json.loads(answer.body) == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": mac}
    assert answered(made, {"event": "meeting.started", "payload": {"plainToken": "a"}}) is None
    assert answered(made, {"note": "endpoint.url_validation"}) is None


@pytest.mark.parametrize("token", ["v0:1700000000:{}", ":", "", None, 5])
def test_zoom_signs_no_text_that_could_be_an_event(token: object) -> None:
    """What Zoom signs has colons, so a token with one is refused, even where the question is signed."""
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": token}}
    answer = answered(scheme("zoom"), body)
    assert answer is not None
    assert answer.status == 400
    assert b"encryptedToken" not in answer.body


def test_dropbox_and_graph_are_echoed() -> None:
    """A challenge comes back decoded, as plain text, by the provider's own method alone."""
    dropbox, graph = scheme("dropbox"), scheme("microsoft-graph")
    text = "<script>alert(1)</script> é+&"
    assert dropbox.greet(asking(challenge=text)) == Answer(200, "text/plain", text.encode())
    assert dropbox.greet(asking("POST", challenge=text)) is None
    for method in ("GET", "POST"):
        assert graph.greet(asking(method, validationToken=text)) == Answer(200, "text/plain", text.encode())
    assert graph.greet(asking("PUT", validationToken=text)) is None
    assert graph.greet(asking()) is None


@pytest.mark.parametrize(
    ("body", "status", "content"),
    [
        ({"type": 0}, 204, b""),
        ({"type": 1}, 200, b'{"type": 1}'),
        ({"type": 1, "event": {"type": "APPLICATION_AUTHORIZED"}}, None, None),
        ({"type": 2}, None, None),
        ({"type": True}, None, None),
        ({"type": "1"}, None, None),
        ([{"type": 1}], None, None),
    ],
)
def test_discord_is_answered_its_pings(body: object, status: int | None, content: bytes | None) -> None:
    """Both PINGs are answered, and an event of type 1 is no PING."""
    answer = answered(scheme("discord"), body)
    assert (answer and answer.status, answer and answer.body) == (status, content)


def test_sns_names_where_to_confirm() -> None:
    """A verified SubscriptionConfirmation is answered, and names its SubscribeURL; other messages do not."""
    made = scheme("sns")
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    asked = {"Type": "SubscriptionConfirmation", "Message": "m", "Token": "abc", "SubscribeURL": url}
    for kind, expected in (("SubscriptionConfirmation", url), ("UnsubscribeConfirmation", None)):
        sent = signed(made, json.dumps({**asked, "Type": kind}).encode())
        assert verdict(made, sent) == 0
        assert made.confirmation(sent, parser(sent)) == expected
        assert (made.answer(sent, parser(sent)) is None) is (expected is None)
    sent = signed(made, b"SubscriptionConfirmation")
    assert made.confirmation(sent, parser(sent)) is None


@pytest.mark.parametrize(
    "kind", [k for k in EXAMPLES if k not in {"meta", "x", "dropbox", "microsoft-graph"}]
)
def test_no_other_scheme_greets(kind: str) -> None:
    """A scheme without a handshake takes no question, so that its requests go the short way."""
    made = scheme(kind)
    assert made.greeting is None
    query = {"challenge": "a", "validationToken": "a", "crc_token": "a", "hub.challenge": "a"}
    assert made.greet(asking(**query)) is None
