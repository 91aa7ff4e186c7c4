"""What verifies, what does not, and which reason the log gives for it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from relay import signatures
from relay.errors import UsageError
from relay.model import Request
from relay.signatures.providers.table import KNOWN
from tests.support.rows import each
from tests.unit.signatures.helpers import (
    EXAMPLES,
    IN_BODY,
    NOW,
    SECRETED,
    URL,
    WHSEC,
    other_secret,
    request,
    scheme,
    signed,
    swapped,
    verdict,
    without,
)

SIGNING = [
    *("standard-webhooks", "svix", "github", "gitlab", "stripe", "slack", "shopify", "twilio", "hmac"),
    *("bitbucket", "paddle", "square", "intercom", "typeform", "dropbox", "hubspot", "zoom", "meta", "x"),
    *("discord", "sendgrid", "paypal"),
]
TIMED = ["standard-webhooks", "svix", "gitlab", "stripe", "slack", "hmac", "zoom"]
FORM = b"application/x-www-form-urlencoded"
BODY = b'{"type": "a", "n": 1.0}'


def timed(kind: str, stamp: bytes, **options: object) -> Request:
    """A request with this timestamp in it, rightly signed wherever the timestamp is one."""
    made = scheme(kind, **options)
    sent = signed(made, BODY, now=int(stamp) if stamp.isdigit() and len(stamp) < 15 else NOW)
    if kind == "stripe":
        old = dict(sent.headers)[b"stripe-signature"]
        return request(
            BODY, swapped(sent.headers, b"stripe-signature", b"t=%b,%b" % (stamp, old.split(b",")[1]))
        )
    name = {
        "svix": b"svix-timestamp",
        "slack": b"x-slack-request-timestamp",
        "zoom": b"x-zm-request-timestamp",
        "hmac": b"x-time",
    }
    return request(BODY, swapped(sent.headers, name.get(kind, b"webhook-timestamp"), stamp))


def test_every_kind_has_an_example() -> None:
    """The tests that run over all kinds leave none out; the providers' table has tests of its own."""
    assert EXAMPLES.keys() == signatures.KINDS.keys() - {provider.name for provider in KNOWN}


@each("kind", EXAMPLES)
def test_every_kind_verifies_what_it_signs(kind: str) -> None:
    """A scheme and its signer agree, on JSON, forms and nothing at all."""
    made = scheme(kind)
    for body in (BODY,) if kind in IN_BODY else (BODY, b"a=1&b=%C3%A9&b=", b"", b"\xff\x00"):
        assert verdict(made, signed(made, body)) == (None if kind == "none" else 0)


@each("kind", SIGNING)
@given(data=st.data())
def test_a_body_with_one_byte_changed_does_not_verify(kind: str, data: st.DataObject) -> None:
    """Whatever byte of the body is changed, the signature is void."""
    made = scheme(kind)
    at = data.draw(st.integers(0, len(BODY) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != BODY[at]))
    sent = signed(made, BODY)
    changed = BODY[:at] + bytes([byte]) + BODY[at + 1 :]
    assert verdict(made, request(changed, sent.headers, url=sent.url)) == "mismatch"


@each("kind", SIGNING)
def test_json_that_was_written_out_again_does_not_verify(kind: str) -> None:
    """The bytes are signed, not what they mean."""
    made = scheme(kind)
    sent = signed(made, BODY)
    again = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    assert verdict(made, request(again, sent.headers, url=sent.url)) == "mismatch"


@each("kind", SECRETED)
def test_both_of_two_secrets_verify_and_the_result_tells_which(kind: str) -> None:
    """While a secret rolls, requests made with the old and with the new one are taken."""
    first, second = EXAMPLES[kind]["secrets"], [other_secret(kind)]
    old, new = scheme(kind, secrets=first), scheme(kind, secrets=second)
    both = scheme(kind, secrets=[*first, *second])  # type: ignore[misc]
    assert verdict(both, signed(old, BODY)) == 0
    assert verdict(both, signed(new, BODY)) == 1
    assert verdict(old, signed(new, BODY)) == "mismatch"


@each("kind", [kind for kind in EXAMPLES if kind not in {"none", "microsoft-graph"}])
def test_a_request_without_its_header_is_missing_it(kind: str) -> None:
    """No header, and an empty one, are refused as missing."""
    made = scheme(kind)
    sent = signed(made, BODY)
    assert verdict(made, request(BODY, (), url=sent.url)) == "missing"
    empty = tuple((name, b"") for name, _ in sent.headers)
    assert verdict(made, request(BODY, empty, url=sent.url)) == "missing"


@each("kind", [kind for kind in EXAMPLES if kind != "none"])
@given(value=st.binary(min_size=1, max_size=80))
def test_whatever_stands_in_the_headers_is_refused_not_a_crash(kind: str, value: bytes) -> None:
    """Any bytes in any of the headers end in a refusal with a short word."""
    made = scheme(kind)
    sent = signed(made, BODY)
    for name, real in sent.headers:
        if value != real and (name in made.mac_headers or name in made.secret_headers):
            broken = request(BODY, swapped(sent.headers, name, value), url=sent.url)
            assert verdict(made, broken) in {"malformed", "mismatch", "stale"}


@pytest.mark.parametrize("token", ["é".encode(), "é".encode("latin-1"), b"\xff\xfe", b"secret\xc3\xa9"])
@each("kind", [kind for kind in EXAMPLES if kind not in {"none", *IN_BODY}])
def test_a_token_beyond_ascii_is_a_mismatch(kind: str, token: bytes) -> None:
    """A token of other characters is compared as bytes and refused."""
    made = scheme(kind)
    sent = signed(made, BODY)
    headers = tuple((name, token) for name, _ in sent.headers)
    assert verdict(made, request(BODY, headers, url=sent.url)) in {"malformed", "mismatch", "certificate"}


def test_a_secret_beyond_ascii_verifies() -> None:
    """A secret may be any text, as bytes."""
    for kind in ("github", "bearer", "basic", "api-key"):
        made = scheme(kind, secrets=["é✓".encode()])
        assert verdict(made, signed(made, BODY)) == 0


@each("kind", TIMED)
@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"%d" % (NOW - 300), 0),
        (b"%d" % (NOW + 300), 0),
        (b"%d" % (NOW - 301), "stale"),
        (b"%d" % (NOW + 301), "stale"),
        (b"0", "stale"),
        (b"%d" % (NOW * 1000), "stale"),
        (b"abc", "malformed"),
        (b"-1700000000", "malformed"),
        (b"+1700000000", "malformed"),
        (b"1700000000.5", "malformed"),
        (b"17_0000_0000", "malformed"),
        (b"1e9", "malformed"),
        (b"nan", "malformed"),
        (b"9" * 5000, "malformed"),
        ("١٧٠٠٠٠٠٠٠٠".encode(), "malformed"),  # noqa: RUF001 - digits that are not ASCII
    ],
)
def test_timestamps(kind: str, stamp: bytes, expected: int | str) -> None:
    """A signed time is taken 300 s either way, whole and in seconds, and nothing else is."""
    assert verdict(scheme(kind), timed(kind, stamp)) == expected


@each("kind", TIMED)
def test_a_missing_timestamp_is_refused(kind: str) -> None:
    """A request without its time does not verify."""
    made = scheme(kind)
    sent = signed(made, BODY)
    if kind == "stripe":
        mac = dict(sent.headers)[b"stripe-signature"].partition(b",")[2]
        assert verdict(made, request(BODY, ((b"stripe-signature", mac),))) == "malformed"
        return
    names = (b"webhook-timestamp", b"svix-timestamp", b"x-slack-request-timestamp", b"x-time")
    for name in (*names, b"x-zm-request-timestamp"):
        if name in dict(sent.headers):
            assert verdict(made, request(BODY, without(sent.headers, name))) == "missing"


@each("kind", TIMED)
def test_the_time_is_signed(kind: str) -> None:
    """An old request does not become fresh by another timestamp."""
    made = scheme(kind)
    sent = signed(made, BODY, now=NOW - 100)
    headers = tuple((k, v.replace(b"%d" % (NOW - 100), b"%d" % NOW)) for k, v in sent.headers)
    assert headers != sent.headers
    assert verdict(made, request(BODY, headers)) == "mismatch"


@each("kind", TIMED)
def test_the_tolerance_is_an_option(kind: str) -> None:
    """A source may be stricter or laxer than 300 s."""
    sent = signed(scheme(kind), BODY, now=NOW - 400)
    assert verdict(scheme(kind, tolerance=500), sent) == 0
    assert verdict(scheme(kind, tolerance=10), sent) == "stale"


@pytest.mark.parametrize("kind", ["standard-webhooks", "svix", "gitlab"])
def test_one_good_signature_among_bad_ones_suffices(kind: str) -> None:
    """Each signature of a list is looked at, and items of no known kind are passed over."""
    made = scheme(kind)
    sent = signed(made, BODY)
    (name,) = made.mac_headers
    good = dict(sent.headers)[name]
    for value in (
        b"bad " + good,
        b"v1,bad " + good,
        good + b" bad",
        b"v2,x v1, v1a,AA== " + good,
        good + b" ",
    ):
        assert verdict(made, request(BODY, swapped(sent.headers, name, value))) == 0
    for value, reason in ((b"bad", "malformed"), (b"v1,bad v1,worse", "mismatch"), (good[3:], "malformed")):
        assert verdict(made, request(BODY, swapped(sent.headers, name, value))) == reason
    many = b" ".join([b"v1,x"] * 16 + [good])
    assert verdict(made, request(BODY, swapped(sent.headers, name, many))) == "malformed"


def test_every_v1_of_stripe_is_looked_at_and_v0_is_not() -> None:
    """While a secret rolls Stripe sends several v1; its v0 is for tests and verifies nothing."""
    made = scheme("stripe")
    good = dict(signed(made, BODY).headers)[b"stripe-signature"].partition(b"v1=")[2]
    stamp = b"t=%d" % NOW
    for header, expected in (
        (b"%b,v1=%b,v1=%b" % (stamp, b"0" * 64, good), 0),
        (b"%b,v1=%b,v1=%b,v0=%b" % (stamp, good, b"0" * 64, b"1" * 64), 0),
        (b"v1=%b, %b" % (good, stamp), 0),
        (b"%b,v0=%b" % (stamp, good), "malformed"),
        (b"%b,v0=%b,v1=%b" % (stamp, good, b"0" * 64), "mismatch"),
        (b"%b,v1=" % stamp, "mismatch"),
        (b"v1=%b" % good, "malformed"),
        (b"t=,v1=%b" % good, "malformed"),
    ):
        assert verdict(made, request(BODY, ((b"stripe-signature", header),))) == expected, header


def test_github_takes_one_prefixed_signature() -> None:
    """A bare digest, SHA-1 and a second spelling of the prefix are refused; capitals in hex are not."""
    made = scheme("github")
    good = dict(signed(made, BODY).headers)[b"x-hub-signature-256"]
    for header, expected in (
        (good.removeprefix(b"sha256="), "malformed"),
        (b"sha1=" + b"0" * 40, "malformed"),
        (good + b" " + good, "mismatch"),
        (b"sha256=" + good[7:].upper(), 0),
        (b"sha256=", "mismatch"),
    ):
        assert verdict(made, request(BODY, ((b"x-hub-signature-256", header),))) == expected


@pytest.mark.parametrize(
    "secret",
    [
        WHSEC,
        WHSEC.removeprefix(b"whsec_"),
        b"v1," + WHSEC,
        b"whsec_c2VjcmV0cw",
        b"whsec_c2VjcmV0cw==",
        b"c2VjcmV0cw=",
    ],
)
def test_standard_webhooks_keys_in_every_spelling(secret: bytes) -> None:
    """A key is base64 after whsec_, after v1,whsec_ or bare, padded or not: the same key each time."""
    plain = base64.b64decode(secret.rpartition(b"whsec_")[2].rstrip(b"=") + b"==")
    spelled = b"whsec_" + base64.b64encode(plain)
    made = scheme("standard-webhooks", secrets=[secret])
    assert verdict(made, signed(scheme("standard-webhooks", secrets=[spelled]), BODY)) == 0


@pytest.mark.parametrize("secret", [b"whsec_", b"whsec_%%%", "whsec_é".encode(), b"whpk_AAAA", b"whpk_"])
def test_a_key_that_is_none_is_refused_by_its_number_and_not_shown(secret: bytes) -> None:
    """The mistake names the place of the secret, never the secret."""
    with pytest.raises(ValueError, match="secret 2 of scheme standard-webhooks must be") as caught:
        scheme("standard-webhooks", secrets=[WHSEC, secret])
    assert "%%%" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_ed25519_signatures_of_standard_webhooks() -> None:
    """`v1a` verifies with a public key, beside HMAC keys; a public key cannot sign."""
    private = Ed25519PrivateKey.generate()
    public = b"whpk_" + base64.b64encode(private.public_key().public_bytes_raw())
    mac = base64.b64encode(private.sign(b"msg_1.%d." % NOW + BODY))
    for kind, mark in (("standard-webhooks", b"webhook-"), ("svix", b"svix-")):
        made = scheme(kind, secrets=[WHSEC, public])
        base = ((mark + b"id", b"msg_1"), (mark + b"timestamp", b"%d" % NOW))
        for value, expected in (
            (b"v1a," + mac, 1),
            (b"v1,AAAA v1a,bad v1a," + mac, 1),
            (b"v1," + mac, "mismatch"),
            (b"v1a," + base64.b64encode(b"x" * 64), "mismatch"),
            ("v1a,é".encode(), "mismatch"),
        ):
            assert verdict(made, request(BODY, (*base, (mark + b"signature", value)))) == expected
        assert verdict(made, signed(made, BODY)) == 0
    with pytest.raises(UsageError, match="public key"):
        signed(scheme("standard-webhooks", secrets=[public]), BODY)


def test_cryptography_is_loaded_only_for_a_public_key() -> None:
    """A process without Ed25519 keys is spared the library."""
    code = (
        "import sys; from relay import signatures;"
        " signatures.build('standard-webhooks', {'secrets': [b'whsec_AAAA']});"
        " assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gitlab_goes_by_what_the_request_carries() -> None:
    """A signature where there is one and a key for it, the token otherwise; a bad signature is final."""
    both = scheme("gitlab", secrets=[b"token", WHSEC])
    by_signature = signed(scheme("gitlab", secrets=[WHSEC]), BODY).headers
    by_token = signed(scheme("gitlab", secrets=[b"token"]), BODY).headers
    bad = swapped(by_signature, b"webhook-signature", b"v1,bad")
    only = scheme("gitlab", secrets=[b"token"])
    token = (b"x-gitlab-token", b"token")
    assert b"x-gitlab-token" not in dict(by_signature)
    assert b"webhook-signature" not in dict(by_token)
    assert dict(signed(both, BODY).headers) == dict(by_token)
    assert verdict(both, request(BODY, by_signature)) == 1
    assert verdict(both, request(BODY, by_token)) == 0
    assert verdict(both, request(BODY, (*by_signature, token))) == 1
    assert verdict(both, request(BODY, (*bad, token))) == "mismatch"
    assert verdict(both, request(BODY, ((b"x-gitlab-token", b"other"),))) == "mismatch"
    assert verdict(only, request(BODY, (*by_signature, token))) == 0
    assert verdict(only, request(BODY, by_signature)) == "mismatch"
    assert verdict(both, request(BODY, ())) == "missing"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha=", "HMAC "])
@pytest.mark.parametrize(
    ("template", "changes"),
    [
        ("{body}", {}),
        ("v0:{timestamp}:{body}", {"timestamp_header": "X-Time"}),
        ("{id}.{timestamp}.{body}", {"timestamp_header": "X-Time", "id_header": "X-Id"}),
        ("{method}{url}{body}", {}),
    ],
)
def test_the_generic_scheme_in_all_its_options(
    algorithm: str, encoding: str, prefix: str, template: str, changes: dict[str, Any]
) -> None:
    """Every combination of hash, encoding, prefix and signed text signs and verifies, and only its own."""
    options: dict[str, Any] = {
        "secrets": [b"secret"],
        "header": "X-Signature",
        "algorithm": algorithm,
        "encoding": encoding,
        "prefix": prefix,
        "signed": template,
        **changes,
    }
    made = signatures.build("hmac", options)
    sent = signed(made, BODY)
    assert dict(sent.headers)[b"x-signature"].startswith(prefix.encode())
    assert verdict(made, sent) == 0
    assert verdict(made, request(BODY + b" ", sent.headers)) == "mismatch"
    assert made.needs_url == ("{url}" in template)
    if made.needs_url:
        assert verdict(made, request(BODY, sent.headers, url=URL + "?")) == "mismatch"
        assert verdict(made, request(BODY, sent.headers, method="PUT")) == "mismatch"
    if "{id}" in template:
        assert verdict(made, request(BODY, swapped(sent.headers, b"x-id", b"other"))) == "mismatch"
        assert verdict(made, request(BODY, without(sent.headers, b"x-id"))) == "missing"


def test_unpadded_base64_is_the_same_signature() -> None:
    """Some senders leave the padding out."""
    made = scheme("shopify")
    good = dict(signed(made, BODY).headers)[b"x-shopify-hmac-sha256"]
    assert good.endswith(b"=")
    assert verdict(made, request(BODY, ((b"x-shopify-hmac-sha256", good.rstrip(b"=")),))) == 0


def test_twilio_refuses_a_body_that_it_does_not_sign() -> None:
    """Neither a form nor bodySHA256 means that nothing vouches for the body."""
    made = scheme("twilio")
    bare = dict(signed(made, b"").headers)[b"x-twilio-signature"]
    headers = ((b"content-type", b"application/json"), (b"x-twilio-signature", bare))
    assert verdict(made, request(b"", headers)) == 0
    assert verdict(made, request(BODY, headers)) == "malformed"
    flood = request(b"a=1&" * 1000, ((b"content-type", FORM), (b"x-twilio-signature", bare)))
    assert verdict(made, flood) == "malformed"
    assert verdict(made, request(b"", headers, url="//[bad")) == "malformed"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Basic " + base64.b64encode(b"relay:secret"), 0),
        (b"basic  " + base64.b64encode(b"relay:secret"), 0),
        (b"Basic " + base64.b64encode(b"other:secret"), "mismatch"),
        (b"Basic " + base64.b64encode(b"relay:"), "mismatch"),
        (b"Basic relay:secret", "malformed"),
        (b"Basic", "malformed"),
        (b"Bearer secret", "malformed"),
    ],
)
def test_basic(header: bytes, expected: int | str) -> None:
    """User name and secret are compared as one, in any case of `Basic`."""
    assert verdict(scheme("basic"), request(BODY, ((b"authorization", header),))) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [(b"Bearer secret", 0), (b"bearer secret", 0), (b"Bearer other", "mismatch"), (b"secret", "malformed")],
)
def test_bearer(header: bytes, expected: int | str) -> None:
    """The token is compared, in any case of `Bearer`."""
    assert verdict(scheme("bearer"), request(BODY, ((b"authorization", header),))) == expected


@pytest.mark.parametrize("kind", ["bearer", "github"])
def test_a_secret_that_is_written_twice_is_the_first(kind: str) -> None:
    """The result names the first secret that matched."""
    made = scheme(kind, secrets=[b"other", b"twice", b"twice"])
    assert verdict(made, signed(scheme(kind, secrets=[b"twice"]), BODY)) == 1


def test_an_api_key_in_the_query() -> None:
    """The first value of the parameter counts, escaped or not, and a sender's URL gets it."""
    made = signatures.build("api-key", {"query": "api key", "secrets": [b"a+b/c="]})
    assert made.secret_query == {"api key"}
    assert made.target("https://a.example/h?x=1", b"") == "https://a.example/h?x=1&api%20key=a%2Bb%2Fc%3D"
    assert verdict(made, signed(made, BODY)) == 0
    for query, expected in (
        ("api+key=a+b/c=", 0),
        ("x=1&api%20key=a%2Bb/c%3D&api+key=other", 0),
        ("api+key=other&api+key=a+b/c=", "mismatch"),
        ("api+key=", "missing"),
        ("apikey=a", "missing"),
        ("", "missing"),
    ):
        assert verdict(made, request(BODY, (), url=f"https://a.example/h?{query}")) == expected
