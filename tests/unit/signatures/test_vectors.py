"""The signatures that providers publish, and their own libraries signing and verifying live."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
import standardwebhooks
import stripe
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from relay.signatures import build
from tests.unit.signatures.helpers import NOW, WHSEC, request, scheme, signed, verdict

SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
TWILIO_FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
FORM = b"application/x-www-form-urlencoded"
texts = st.text(st.characters(codec="utf-8"), max_size=20)


class FixedClock(Clock):
    """Slack's clock, standing still."""

    def now(self) -> float:
        """The time of the tests."""
        return NOW


def test_standard_webhooks_vector() -> None:
    """The specification's example verifies, and we write the same signature."""
    expected = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    body = b'{"test": 2432232314}'
    made = scheme("standard-webhooks")
    headers = made.sign(body, now=1614265330, event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", url="")
    assert dict(headers)[b"webhook-signature"] == expected
    assert verdict(made, request(body, headers), now=1614265330) == 0


def test_github_vector() -> None:
    """GitHub's documented example verifies."""
    made = build("github", {"secrets": [b"It's a Secret to Everybody"]})
    mac = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert verdict(made, request(b"Hello, World!", ((b"x-hub-signature-256", mac),))) == 0


def test_bitbucket_vector_by_the_generic_scheme() -> None:
    """Bitbucket's documented example verifies with a generic source."""
    made = build(
        "hmac",
        {"secrets": [b"It's a Secret to Everybody"], "header": "X-Hub-Signature", "prefix": "sha256="},
    )
    mac = b"sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    assert verdict(made, request(b"Hello World!", ((b"x-hub-signature", mac),))) == 0


def test_square_vector_by_the_generic_scheme() -> None:
    """The vector of Square's library, over URL and body in base64, verifies with a generic source."""
    options = {"header": "x-square-hmacsha256-signature", "encoding": "base64", "signed": "{url}{body}"}
    made = build("hmac", {"secrets": [b"asdf1234"], **options})
    headers = ((b"x-square-hmacsha256-signature", b"2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og="),)
    assert made.needs_url
    assert verdict(made, request(b'{"hello":"world"}', headers, url="https://example.com/webhook")) == 0


def test_slack_vector() -> None:
    """Slack's documented example verifies."""
    made = build("slack", {"secrets": [b"8f742231b10e8888abcd99yyyzzz85a5"]})
    headers = (
        (b"x-slack-request-timestamp", b"1531420618"),
        (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    )
    assert verdict(made, request(SLACK_BODY, headers), now=1531420618) == 0


def test_twilio_form_vector() -> None:
    """Twilio's documented form verifies."""
    made = build("twilio", {"secrets": [b"12345"]})
    headers = ((b"content-type", FORM), (b"x-twilio-signature", b"RSOYDt4T1cUTdK1PDd93/VVr8B8="))
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert verdict(made, request(urlencode(TWILIO_FORM).encode(), headers, url=url)) == 0


def test_twilio_json_vector() -> None:
    """The JSON vector of Twilio's library verifies, and not with another body."""
    made = build("twilio", {"secrets": [b"12345"]})
    headers = (
        (b"content-type", b"application/json"),
        (b"x-twilio-signature", b"a9nBmqA0ju/hNViExpshrM61xv4="),
    )
    digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    url = f"https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256={digest}"
    body = b'{"property": "value", "boolean": true}'
    assert verdict(made, request(body, headers, url=url)) == 0
    assert verdict(made, request(body + b" ", headers, url=url)) == "mismatch"


@given(identity=st.uuids(), body=texts)
def test_standardwebhooks_and_we_agree(identity: object, body: str) -> None:
    """The specification's library signs what we verify, and verifies what we sign."""
    for kind, library, mark in (
        ("standard-webhooks", standardwebhooks.Webhook(WHSEC.decode()), "webhook"),
        ("svix", svix.webhooks.Webhook(WHSEC.decode()), "svix"),
    ):
        made, data, now = scheme(kind), body.encode(), datetime.now(tz=UTC)
        theirs = {
            f"{mark}-id": str(identity),
            f"{mark}-timestamp": str(int(now.timestamp())),
            f"{mark}-signature": library.sign(str(identity), now, body),
        }
        got = request(data, tuple((k.encode(), v.encode()) for k, v in theirs.items()))
        assert verdict(made, got, now=now.timestamp()) == 0
        ours = made.sign(data, now=now.timestamp(), event_id=str(identity), url="")
        sent = {k.decode(): v.decode() for k, v in ours}
        if isinstance(library, standardwebhooks.Webhook):
            library.verify(data, sent, json_parse=False)
        else:
            library.verify(data, sent)


@given(body=texts)
def test_stripe_and_we_agree(body: str) -> None:
    """Stripe's library signs what we verify, and verifies what we sign."""
    secret = "whsec_not_decoded"
    made = scheme("stripe")
    header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=int(NOW))
    assert verdict(made, request(body.encode(), ((b"stripe-signature", header.encode()),))) == 0
    ours = dict(signed(made, body.encode()).headers)[b"stripe-signature"].decode()
    assert stripe.WebhookSignature.verify_header(body, ours, secret)


@given(body=texts)
def test_slack_sdk_and_we_agree(body: str) -> None:
    """Slack's library signs what we verify, and verifies what we sign."""
    made, library = scheme("slack"), SignatureVerifier("secret", clock=FixedClock())
    stamp = str(int(NOW))
    mac = library.generate_signature(timestamp=stamp, body=body)
    assert mac is not None
    headers = ((b"x-slack-signature", mac.encode()), (b"x-slack-request-timestamp", stamp.encode()))
    assert verdict(made, request(body.encode(), headers)) == 0
    ours = signed(made, body.encode()).headers
    assert library.is_valid_request(body, {k.decode(): v.decode() for k, v in ours})


class MultiDict(dict[str, list[str]]):
    """A form with repeated names, as a web framework hands it to Twilio's library."""

    def getall(self, name: str) -> list[str]:
        """Every value of a name."""
        return self[name]


@given(
    form=st.dictionaries(texts.filter(bool), st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=4),
    port=st.sampled_from(["", ":443", ":8443"]),
    algorithm=st.sampled_from(["sha1", "sha256"]),
)
def test_twilio_and_we_agree_on_forms(form: dict[str, list[str]], port: str, algorithm: str) -> None:
    """Twilio's library signs what we verify, and verifies what we sign, repeated names and ports included."""
    made, library = scheme("twilio", algorithm=algorithm), RequestValidator("secret")
    name, fields = f"HMAC_{algorithm.upper()}", MultiDict(form)
    url = f"https://relay.example.com{port}/hooks/sms?a=1"
    body = urlencode(form, doseq=True).encode()
    mac = library.compute_signature(url, fields, name)
    headers = ((b"content-type", FORM + b"; charset=utf-8"), (b"x-twilio-signature", mac.encode()))
    assert verdict(made, request(body, headers, url=url)) == 0
    ours = dict(made.sign(body, now=NOW, event_id="x", url=url))[b"x-twilio-signature"].decode()
    assert library.validate(url, fields, ours, name)


@pytest.mark.parametrize(
    ("signed_url", "seen_url"),
    [
        ("https://a.example/h?x=1", "https://a.example:443/h?x=1"),
        ("https://a.example:443/h?x=1", "https://a.example/h?x=1"),
        ("http://a.example:80/h", "http://a.example/h"),
        ("https://a.example/h", "https://a.example:8443/h"),
        ("https://a.example/h", "https://user:pass@a.example/h"),
    ],
)
def test_twilio_url_verifies_with_and_without_port(signed_url: str, seen_url: str) -> None:
    """Whether the port stands in the URL that Twilio signed does not matter, and a user never does."""
    mac = RequestValidator("secret").compute_signature(signed_url, TWILIO_FORM).encode()
    headers = ((b"content-type", FORM), (b"x-twilio-signature", mac))
    body = urlencode(TWILIO_FORM).encode()
    assert verdict(scheme("twilio"), request(body, headers, url=seen_url)) == 0
    other = seen_url.replace("a.example", "b.example")
    assert verdict(scheme("twilio"), request(body, headers, url=other)) == "mismatch"


@given(value=st.dictionaries(texts, texts))
def test_twilio_and_we_agree_on_json(value: dict[str, str]) -> None:
    """Twilio's library verifies the JSON that we sign, and we what it signs."""
    made, library, body = scheme("twilio"), RequestValidator("secret"), json.dumps(value)
    sent = signed(made, body.encode())
    assert verdict(made, sent) == 0
    mac = dict(sent.headers)[b"x-twilio-signature"].decode()
    assert library.validate(sent.url, body, mac)
    url = f"https://a.example/h?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    theirs = library.compute_signature(url, {}).encode()
    assert verdict(made, request(body.encode(), ((b"x-twilio-signature", theirs),), url=url)) == 0
