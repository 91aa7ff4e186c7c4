"""Where each provider says what its event is, how its handshake is answered, and which headers are what."""

from __future__ import annotations

import base64
import json

import pytest

from relay.model import Headers, Request
from relay.signatures import Answer, Identity
from tests.unit.signatures.helpers import (
    EXAMPLES,
    SECRETED,
    parser,
    request,
    scheme,
    signed,
    unparsed,
    verdict,
)

FORM = b"application/x-www-form-urlencoded"


def asked(body: object, *headers: tuple[bytes, bytes], form: bool = False) -> Request:
    """A request with a JSON body, or a form."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind: Headers = ((b"content-type", FORM if form else b"application/json"),)
    return request(raw, (*kind, *headers))


@pytest.mark.parametrize(
    ("kind", "sent", "expected"),
    [
        (
            "github",
            asked({"action": "opened"}, (b"x-github-event", b"pull_request"), (b"x-github-delivery", b"d1")),
            Identity("pull_request.opened", "d1"),
        ),
        ("github", asked({"action": None}, (b"x-github-event", b"push")), Identity("push", None)),
        ("github", asked(b'"action"', (b"x-github-event", b"push")), Identity("push", None)),
        ("github", asked(b'{"action": ', (b"x-github-event", b"push")), Identity("push", None)),
        ("stripe", asked({"type": "invoice.paid", "id": "evt_1"}), Identity("invoice.paid", "evt_1")),
        ("stripe", asked([1]), Identity(None, None)),
        ("stripe", asked({"type": {}, "id": 5}), Identity(None, "5")),
        ("stripe", asked({"type": True, "id": 10**30}), Identity(None, None)),
        ("stripe", asked(b'{"type": "a\\ud800\\u0000", "id": ""}'), Identity("a\ufffd\ufffd", None)),
        (
            "slack",
            asked({"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}),
            Identity("app_mention", "Ev1"),
        ),
        ("slack", asked({"type": "app_rate_limited"}), Identity("app_rate_limited", None)),
        ("slack", asked(b"command=%2Fdeploy&text=now", form=True), Identity("/deploy", None)),
        (
            "gitlab",
            asked({"object_kind": "push"}, (b"idempotency-key", b"i"), (b"x-gitlab-event-uuid", b"u")),
            Identity("push", "i"),
        ),
        ("gitlab", asked({}, (b"x-gitlab-event-uuid", b"u")), Identity(None, "u")),
        ("svix", asked({"type": "user.created"}, (b"svix-id", b"m")), Identity("user.created", "m")),
        (
            "standard-webhooks",
            asked({"type": "user.created"}, (b"webhook-id", b"m")),
            Identity("user.created", "m"),
        ),
        (
            "twilio",
            asked(b"MessageSid=SM1&SmsSid=SM1&MessageStatus=delivered", form=True),
            Identity("message.delivered", "SM1.delivered"),
        ),
        (
            "twilio",
            asked(b"MessageSid=SM1&SmsStatus=received", form=True),
            Identity("message.received", "SM1.received"),
        ),
        (
            "twilio",
            asked(b"CallSid=CA1&CallStatus=ringing", (b"i-twilio-idempotency-token", b"t"), form=True),
            Identity("call.ringing", "t"),
        ),
        (
            "twilio",
            asked(b"CallSid=CA1&RecordingSid=RE1&RecordingStatus=completed", form=True),
            Identity("recording.completed", "RE1.completed"),
        ),
        (
            "twilio",
            asked(b"EventType=onMessageAdded&MessageSid=IM1", form=True),
            Identity("onMessageAdded", "IM1"),
        ),
        ("twilio", asked(b"Digits=1", form=True), Identity(None, None)),
        ("twilio", asked(b"no JSON"), Identity(None, None)),
        ("hmac", asked({"type": "a"}, (b"x-id", b"7")), Identity(None, "7")),
        ("bearer", asked({"type": "a", "id": "b"}), Identity(None, None)),
        ("none", asked({"type": "a", "id": "b"}), Identity(None, None)),
    ],
)
def test_identity(kind: str, sent: Request, expected: Identity) -> None:
    """An event has the type and the id that its provider gave it, and none where that is no text."""
    assert scheme(kind).identify(sent, parser(sent)) == expected


@pytest.mark.parametrize(
    ("kind", "headers", "expected"),
    [
        ("github", ((b"x-github-event", b"push"), (b"x-github-delivery", b"d")), Identity("push", "d")),
        ("shopify", ((b"x-shopify-topic", b"a/b"), (b"x-shopify-webhook-id", b"w")), Identity("a/b", "w")),
        ("gitlab", ((b"x-gitlab-event", b"Push Hook"), (b"webhook-id", b"w")), Identity("Push Hook", "w")),
        ("hmac", ((b"x-id", b"7"),), Identity(None, "7")),
    ],
)
def test_the_body_is_not_parsed_where_headers_suffice(
    kind: str, headers: Headers, expected: Identity
) -> None:
    """Naming an event costs no parsing that it does not need."""
    assert scheme(kind).identify(request(b'{"ref": "main"}', headers), unparsed) == expected


@pytest.mark.parametrize(
    ("kind", "event_type", "body", "expected"),
    [
        ("github", "pull_request.opened", {"action": "opened"}, Identity("pull_request.opened", "id-1")),
        ("shopify", "orders/create", {}, Identity("orders/create", "id-1")),
        ("gitlab", "Push Hook", {}, Identity("Push Hook", "id-1")),
        ("svix", None, {"type": "a"}, Identity("a", "id-1")),
        ("standard-webhooks", None, {"type": "a"}, Identity("a", "id-1")),
        ("hmac", None, {}, Identity(None, "id-1")),
        ("twilio", None, {"EventType": "x"}, Identity("x", "id-1")),
        ("stripe", None, {"type": "a", "id": "evt_9"}, Identity("a", "evt_9")),
    ],
)
def test_what_is_signed_carries_its_type_and_id(
    kind: str, event_type: str | None, body: object, expected: Identity
) -> None:
    """A request that we sign is named as the provider's would be."""
    made = scheme(kind)
    sent = signed(made, json.dumps(body).encode(), event_id="id-1", event_type=event_type)
    assert made.identify(sent, parser(sent)) == expected


def test_slack_is_answered_its_challenge() -> None:
    """`url_verification` gets its challenge back, and only it is taken for a handshake."""
    made = scheme("slack")
    sent = signed(made, b'{"type": "url_verification", "challenge": "3eZ\\"b", "token": "t"}')
    assert verdict(made, sent) == 0
    answer = made.answer(sent, parser(sent))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {"challenge": '3eZ"b'}
    for body in (
        b'{"type": "event_callback", "text": "url_verification", "challenge": "x"}',
        b'{"type": "url_verification"}',
        b'{"type": "url_verification", "challenge": 5}',
        b'["url_verification"]',
        b"url_verification",
    ):
        assert made.answer(request(body, ()), parser(request(body, ()))) is None
    assert made.answer(request(b'{"type": "event_callback"}', ()), unparsed) is None


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "slack"])
def test_no_other_scheme_answers(kind: str) -> None:
    """A provider without a handshake gets no answer."""
    sent = request(b'{"type": "url_verification", "challenge": "x"}', ())
    assert scheme(kind).answer(sent, parser(sent)) is None


@pytest.mark.parametrize(
    ("kind", "secret", "macs"),
    [
        ("gitlab", {b"x-gitlab-token"}, {b"webhook-signature"}),
        ("basic", {b"authorization"}, set()),
        ("bearer", {b"authorization"}, set()),
        ("api-key", {b"x-api-key"}, set()),
        ("none", set(), set()),
        ("stripe", set(), {b"stripe-signature"}),
        ("hmac", set(), {b"x-signature"}),
        ("twilio", set(), {b"x-twilio-signature"}),
    ],
)
def test_plain_secrets_and_macs(kind: str, secret: set[bytes], macs: set[bytes]) -> None:
    """Plain secrets are told apart from signatures: the first are never kept."""
    made = scheme(kind)
    assert made.secret_headers == secret
    assert made.mac_headers == macs
    assert made.secret_query == frozenset()


def test_github_takes_larger_bodies() -> None:
    """GitHub sends up to 25 MiB; any other scheme takes 1 MiB unless told otherwise."""
    for kind in EXAMPLES:
        assert scheme(kind).max_body == (25 if kind == "github" else 1) * 1024 * 1024
    assert b"x-hub-signature" in scheme("github").mac_headers


@pytest.mark.parametrize("kind", [kind for kind in SECRETED if kind not in {"discord", "sendgrid"}])
def test_a_secret_is_not_in_a_repr(kind: str) -> None:
    """Whatever prints a scheme shows no secret."""
    shown = repr(scheme(kind, secrets=[b"whsec_" + base64.b64encode(b"canary-canary-canary-canary")]))
    for trace in ("whsec_", "canary", "Y2FuYXJ5"):
        assert trace not in shown


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("slack", b'{"type": "x"}', b"application/json"),
        ("slack", b"command=%2Fx", FORM),
        ("twilio", b"MessageSid=SM1", FORM),
        ("github", b"anything", b"application/json"),
    ],
)
def test_content_type_of_what_is_signed(kind: str, body: bytes, expected: bytes) -> None:
    """Forms are sent as forms by those who send forms."""
    assert dict(signed(scheme(kind), body).headers)[b"content-type"] == expected
