"""The schemes of single providers, each recomputed by hashlib as its page says it is done."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable

import pytest

from relay.model import Request
from relay.signatures import Identity, build
from tests.unit.signatures.helpers import NOW, URL, parser, request, scheme, signed, swapped, verdict

KEY = b"secret"
BODY = '{"type": "x", "text": "é"}'.encode()
STAMP = b"%d" % NOW
MILLIS = b"%d" % (NOW * 1000)


def mac(message: bytes, digest: str = "sha256", key: bytes = KEY) -> bytes:
    """An HMAC, raw."""
    return hmac.new(key, message, digest).digest()


def as_hex(message: bytes, digest: str = "sha256") -> bytes:
    """An HMAC in hex."""
    return mac(message, digest).hex().encode()


RECOMPUTED: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "bitbucket": ((b"x-hub-signature", b"sha256=" + as_hex(BODY)),),
    "paddle": ((b"paddle-signature", b"ts=%b;h1=%b" % (STAMP, as_hex(STAMP + b":" + BODY))),),
    "square": ((b"x-square-hmacsha256-signature", b64encode(mac(URL.encode() + BODY))),),
    "intercom": ((b"x-hub-signature", b"sha1=" + as_hex(BODY, "sha1")),),
    "typeform": ((b"typeform-signature", b"sha256=" + b64encode(mac(BODY))),),
    "dropbox": ((b"x-dropbox-signature", as_hex(BODY)),),
    "zoom": (
        (b"x-zm-request-timestamp", STAMP),
        (b"x-zm-signature", b"v0=" + as_hex(b"v0:%b:%b" % (STAMP, BODY))),
    ),
    "meta": ((b"x-hub-signature-256", b"sha256=" + as_hex(BODY)),),
    "x": ((b"x-twitter-webhooks-signature", b"sha256=" + b64encode(mac(BODY))),),
    "hubspot": (
        (b"x-hubspot-request-timestamp", MILLIS),
        (b"x-hubspot-signature-v3", b64encode(mac(b"POST%b%b%b" % (URL.encode(), BODY, MILLIS)))),
    ),
}


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_what_hashlib_makes_verifies_and_is_what_we_write(kind: str) -> None:
    """The documented recipe, followed by hand, gives what the scheme takes and what it writes."""
    made = scheme(kind)
    headers = RECOMPUTED[kind]
    assert verdict(made, request(BODY, headers)) == 0
    assert verdict(made, request(BODY + b" ", headers)) == "mismatch"
    assert set(headers) <= set(signed(made, BODY).headers)


def test_published_vectors() -> None:
    """The examples that Bitbucket and Square publish verify."""
    bitbucket = build("bitbucket", {"secrets": [b"It's a Secret to Everybody"]})
    value = b"sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    assert verdict(bitbucket, request(b"Hello World!", ((b"x-hub-signature", value),))) == 0
    square = build("square", {"secrets": [b"asdf1234"]})
    headers = ((b"x-square-hmacsha256-signature", b"2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og="),)
    asked = request(b'{"hello":"world"}', headers, url="https://example.com/webhook")
    assert square.needs_url
    assert verdict(square, asked) == 0


@pytest.mark.parametrize(("kind", "limit"), [("paddle", 5), ("hubspot", 300), ("linear", 60)])
def test_the_window_is_the_providers(kind: str, limit: int) -> None:
    """A time may be off by the provider's own figure, either way, and no more."""
    made = scheme(kind)
    for away, expected in ((limit, 0), (-limit, 0), (limit + 1, "stale"), (-limit - 1, "stale")):
        assert verdict(made, signed(made, BODY, now=NOW + away)) == expected, away
    wider = scheme(kind, tolerance=1000)
    assert verdict(wider, signed(wider, BODY, now=NOW - 900)) == 0


def test_every_h1_of_paddle_is_looked_at() -> None:
    """While a secret rolls Paddle sends several h1."""
    made = scheme("paddle")
    good = as_hex(STAMP + b":" + BODY)
    for value, expected in (
        (b"ts=%b;h1=%b;h1=%b" % (STAMP, b"0" * 64, good), 0),
        (b"ts=%b;h1=%b;h1=%b" % (STAMP, good, b"0" * 64), 0),
        (b"ts=%b;h1=%b" % (STAMP, b"0" * 64), "mismatch"),
        (b"ts=%b;h2=%b" % (STAMP, good), "malformed"),
        (b"h1=%b" % good, "malformed"),
        (b"ts=abc;h1=%b" % good, "malformed"),
        (b"ts=-1;h1=%b" % good, "malformed"),
        (b"ts=%b;h1=%b" % (MILLIS, good), "stale"),
    ):
        assert verdict(made, request(BODY, ((b"paddle-signature", value),))) == expected, value


def linear(body: bytes) -> Request:
    """A body that Linear signed."""
    return request(body, ((b"linear-signature", as_hex(body)),))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"webhookTimestamp": %b}' % MILLIS, 0),
        (b'{"webhookTimestamp": %b}' % STAMP, "stale"),
        (b'{"webhookTimestamp": 1e12}', "malformed"),
        (b'{"webhookTimestamp": "%b"}' % MILLIS, "malformed"),
        (b'{"webhookTimestamp": true}', "malformed"),
        (b'{"webhookTimestamp": -5}', "stale"),
        (b'{"webhookTimestamp": %b}' % (b"9" * 5000), "malformed"),
        (b'{"createdAt": "x"}', "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"", "malformed"),
    ],
)
def test_linears_time_stands_in_the_body(body: bytes, expected: int | str) -> None:
    """The field webhookTimestamp is in milliseconds, and a signed body without it is refused."""
    assert verdict(scheme("linear"), linear(body)) == expected


def test_a_body_that_linear_did_not_sign_is_not_parsed() -> None:
    """The signature comes first: whatever a stranger posts is a mismatch."""
    asked = request(b"[" * 100_000, ((b"linear-signature", b"0" * 64),))
    assert verdict(scheme("linear"), asked) == "mismatch"


@pytest.mark.parametrize(
    ("seen", "as_signed"),
    [
        ("https://a.example/h?u=https%3A%2F%2Fb%3Fc", "https://a.example/h?u=https://b?c"),
        ("https://a.example/h?u=%21%24%27%28%29%2A%2C%3B%40", "https://a.example/h?u=!$'()*,;@"),
        ("https://a.example/h?u=%3a%2f", "https://a.example/h?u=:/"),
        ("https://a.example/h?u=%20%26%C3%A9", "https://a.example/h?u=%20%26%C3%A9"),
        ("https://a.example/h?u=%3A", "https://a.example/h?u=%3A"),
    ],
)
def test_hubspots_escapes(seen: str, as_signed: str) -> None:
    """A URL verifies as it came, and with the escapes undone that HubSpot undoes; others stay."""
    message = b"POST%b%b%b" % (as_signed.encode(), BODY, MILLIS)
    headers = (
        (b"x-hubspot-request-timestamp", MILLIS),
        (b"x-hubspot-signature-v3", b64encode(mac(message))),
    )
    made = scheme("hubspot")
    assert verdict(made, request(BODY, headers, url=seen)) == 0
    assert verdict(made, request(BODY, headers, url=seen + "x")) == "mismatch"
    assert verdict(made, signed(made, BODY, url=seen)) == 0


def test_an_older_signature_of_hubspot_is_called_that() -> None:
    """A request with version 1 or 2 alone is told apart from one without a signature."""
    made = scheme("hubspot")
    older = hashlib.sha256(KEY + BODY).hexdigest().encode()
    assert verdict(made, request(BODY, ((b"x-hubspot-signature", older),))) == "unsupported"
    assert verdict(made, request(BODY, ())) == "missing"


def test_a_time_in_another_unit_is_stale() -> None:
    """Seconds where milliseconds belong are 1970, and the other way round the far future."""
    for kind, name, stamp in (
        ("hubspot", b"x-hubspot-request-timestamp", STAMP),
        ("zoom", b"x-zm-request-timestamp", MILLIS),
    ):
        made = scheme(kind)
        sent = signed(made, BODY)
        assert verdict(made, request(BODY, swapped(sent.headers, name, stamp))) == "stale"


@pytest.mark.parametrize(
    ("kind", "body", "headers", "expected"),
    [
        ("bitbucket", {}, {"x-event-key": "repo:push", "x-request-uuid": "u"}, Identity("repo:push", "u")),
        ("paddle", {"event_type": "a.b", "event_id": "evt_1"}, {}, Identity("a.b", "evt_1")),
        ("square", {"type": "a.b", "event_id": "e"}, {}, Identity("a.b", "e")),
        ("intercom", {"topic": "user.created", "id": "notif_1"}, {}, Identity("user.created", "notif_1")),
        ("typeform", {"event_type": "form_response", "event_id": "e"}, {}, Identity("form_response", "e")),
        ("zoom", {"event": "meeting.started"}, {}, Identity("meeting.started", None)),
        ("meta", {"object": "page"}, {}, Identity("page", None)),
        (
            "linear",
            {"action": "create"},
            {"linear-event": "Issue", "linear-delivery": "d"},
            Identity("Issue.create", "d"),
        ),
        ("hubspot", [{"subscriptionType": "a", "eventId": 5}], {}, Identity("a", "5")),
        (
            "hubspot",
            [{"subscriptionType": "a", "eventId": 5}, {"subscriptionType": "a", "eventId": 6}],
            {},
            Identity("a", None),
        ),
        ("sendgrid", [{"event": "open", "sg_event_id": "s"}], {}, Identity("open", "s")),
        ("sendgrid", [{"event": "open"}, {"event": "click"}], {}, Identity(None, None)),
        ("sendgrid", [], {}, Identity(None, None)),
        ("sendgrid", [{"event": "open"}, 5], {}, Identity(None, None)),
        ("discord", {"type": 2, "id": "i"}, {}, Identity("2", "i")),
        ("discord", {"type": 1, "event": {"type": "APP"}}, {}, Identity("APP", None)),
        ("paypal", {"event_type": "A.B", "id": "WH-1"}, {}, Identity("A.B", "WH-1")),
        ("sns", {"Type": "Notification", "MessageId": "m"}, {}, Identity("Notification", "m")),
        (
            "mailgun",
            {"event-data": {"event": "opened"}, "signature": {"token": "t"}},
            {},
            Identity("opened", "t"),
        ),
        ("microsoft-graph", {"value": [{"changeType": "created"}]}, {}, Identity("created", None)),
        (
            "microsoft-graph",
            {"value": [{"changeType": "created"}, {"changeType": "deleted"}]},
            {},
            Identity(None, None),
        ),
    ],
)
def test_what_the_provider_calls_it(
    kind: str, body: object, headers: dict[str, str], expected: Identity
) -> None:
    """Type and delivery id are found where the provider writes them; a mixed batch has neither."""
    encoded = tuple((name.encode(), value.encode()) for name, value in headers.items())
    asked = request(json.dumps(body).encode(), encoded)
    parsed: Callable[[], object] = parser(asked)
    assert scheme(kind).identify(asked, parsed) == expected


def test_a_signature_header_counts_as_a_signature() -> None:
    """Each of them goes out with the original body, and is dropped from a transformed one."""
    for kind, headers in RECOMPUTED.items():
        assert headers[-1][0] in scheme(kind).mac_headers
        assert scheme(kind).secret_headers == frozenset()
