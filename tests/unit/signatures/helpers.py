"""Requests as they reach a scheme, and what a scheme says to them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl

from relay import signatures
from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures import Scheme
from relay.signatures.schemes.paypal import PayPal
from relay.signatures.schemes.sns import Sns
from tests.unit.signatures.authority import CERTIFICATES, SigningPayPal, SigningSns, ec_pem, ed25519_pem

NOW = 1_700_000_000.0
URL = "https://relay.example.com/hooks/test"
WHSEC = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

EXAMPLES: dict[str, dict[str, object]] = {
    "standard-webhooks": {"secrets": [WHSEC]},
    "svix": {"secrets": [WHSEC]},
    "github": {"secrets": [b"secret"]},
    "gitlab": {"secrets": [WHSEC]},
    "stripe": {"secrets": [b"whsec_not_decoded"]},
    "slack": {"secrets": [b"secret"]},
    "shopify": {"secrets": [b"secret"]},
    "twilio": {"secrets": [b"secret"]},
    "hmac": {
        "secrets": [b"secret"],
        "header": "X-Signature",
        "signed": "{method} {url} {id} {timestamp} {body}",
        "timestamp_header": "X-Time",
        "id_header": "X-Id",
    },
    "basic": {"username": "relay", "secrets": [b"secret"]},
    "bearer": {"secrets": [b"secret"]},
    "api-key": {"header": "X-Api-Key", "secrets": [b"secret"]},
    "none": {},
    "bitbucket": {"secrets": [b"secret"]},
    "paddle": {"secrets": [b"secret"]},
    "square": {"secrets": [b"secret"]},
    "intercom": {"secrets": [b"secret"]},
    "typeform": {"secrets": [b"secret"]},
    "dropbox": {"secrets": [b"secret"]},
    "linear": {"secrets": [b"secret"]},
    "hubspot": {"secrets": [b"secret"]},
    "zoom": {"secrets": [b"secret"]},
    "meta": {"secrets": [b"secret"], "verify_token": [b"token"]},
    "x": {"secrets": [b"secret"]},
    "mailgun": {"secrets": [b"secret"]},
    "discord": {"secrets": [ed25519_pem()]},
    "sendgrid": {"secrets": [ec_pem()]},
    "paypal": {"webhook_id": ["WH-1"]},
    "sns": {"topics": ["arn:aws:sns:eu-west-1:123456789012:orders"]},
    "microsoft-graph": {"client_state": [b"state"]},
    "jwt": {"secrets": [b"a secret of thirty-two bytes, or more"]},
}
"""Options for every kind beside the providers' table; a test holds that none is missing."""

IN_BODY = frozenset({"linear", "mailgun", "sns", "microsoft-graph"})
"""Kinds that need something in the body, so that it must be a JSON object."""

SECRETED = [kind for kind, options in EXAMPLES.items() if "secrets" in options]


def other_secret(kind: str) -> bytes:
    """A second secret that the kind takes."""
    match kind:
        case "discord":
            return ed25519_pem()
        case "sendgrid":
            return ec_pem()
        case _:
            return b"whsec_" + base64.b64encode(b"another secret of some length")


def scheme(kind: str, **options: object) -> Scheme:
    """A scheme with the options of its example, but for those given."""
    made = signatures.build(kind, {**EXAMPLES[kind], **options})
    # Only the providers hold these keys; the tests stand in for them.
    given = {one.name: getattr(made, one.name) for one in fields(made)}
    if isinstance(made, Sns):
        return SigningSns(**given)
    return SigningPayPal(**given) if isinstance(made, PayPal) else made


def request(body: bytes, headers: Headers, *, url: str = URL, method: str = "POST") -> Request:
    """A request as the ingress hands it over."""
    return Request(
        method=method,
        path="/hooks/test",
        query=url.partition("?")[2].encode(),
        headers=headers,
        body=body,
        url=url,
        remote="192.0.2.1",
        received_at=NOW,
    )


def signed(scheme: Scheme, body: bytes, *, url: str = URL, now: float = NOW, **more: Any) -> Request:
    """A request that the scheme signed itself."""
    event_id = more.pop("event_id", "msg_1")
    body = scheme.fill(body, now=now, event_id=event_id)
    url = scheme.target(url, body)
    headers = scheme.sign(body, now=now, event_id=event_id, url=url, **more)
    return request(body, headers, url=url)


def without(headers: Headers, name: bytes) -> Headers:
    """The headers but for one."""
    return tuple(pair for pair in headers if pair[0] != name)


def swapped(headers: Headers, name: bytes, value: bytes) -> Headers:
    """The headers with another value for one."""
    assert any(pair[0] == name for pair in headers)
    return tuple((key, value if key == name else old) for key, old in headers)


def verdict(scheme: Scheme, asked: Request, *, now: float = NOW) -> int | str | None:
    """The index of the secret that matched, or the reason of the refusal."""
    try:
        urls = scheme.documents(asked)
        documents = {url: CERTIFICATES.get(url, b"") for url in urls}
        return scheme.verify_with(asked, now=now, documents=documents).secret_index
    except SignatureError as error:
        return error.reason


def parser(asked: Request) -> Callable[[], object]:
    """What parses the body when a scheme asks for it."""

    def parsed() -> object:
        if dict(asked.headers).get(b"content-type") == b"application/x-www-form-urlencoded":
            return dict(reversed(parse_qsl(asked.body.decode(), keep_blank_values=True)))
        try:
            return json.loads(asked.body)
        except ValueError:
            return None

    return parsed


def unparsed() -> object:
    """Fail the test: the headers suffice."""
    raise AssertionError("the body was parsed though the headers suffice")
