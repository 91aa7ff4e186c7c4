"""The table of providers: each row does what its provider published, and refuses all else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from relay.errors import SignatureError, UsageError
from relay.model import Headers, Request
from relay.signatures import Scheme
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import hmac_scheme
from relay.signatures.providers.table import KNOWN
from relay.signatures.timestamps import SECONDS
from tests.support.rows import each
from tests.unit.signatures.authority import RSA, ec_pem, ed25519_pem, pem
from tests.unit.signatures.helpers import NOW, URL, parser, request, signed, swapped, verdict, without
from tests.unit.signatures.provider_vectors import VECTORS

BODY = b'{"type": "a", "n": 1.0}'
OLD, NEW = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
"""Secrets that are text, hex and base64 at once, so that they suit every row."""

BY_NAME = {provider.name: provider for provider in KNOWN}
SIGNING = [provider.name for provider in KNOWN if provider.row is not None]
TOKENS = [provider.name for provider in KNOWN if provider.token is not None]
PUBLISHED = sorted(VECTORS)


@cache
def private_keys(name: str) -> dict[bytes, bytes]:
    """What stands for OLD and NEW where the provider signs with a private key."""
    match name:
        case "telnyx":
            return {OLD: ed25519_pem(), NEW: ed25519_pem()}
        case "wise":
            return {OLD: pem(RSA), NEW: pem(rsa.generate_private_key(65537, 2048))}
        case _:
            return {}


def built(name: str, secrets: Sequence[bytes] = (OLD,), **options: object) -> Scheme:
    """The scheme of a provider, with what it takes beside its secrets."""
    keys = [private_keys(name).get(secret, secret) for secret in secrets]
    return BY_NAME[name].build({"username": "relay", "header": b"x-key", "secrets": keys, **options})


def row(name: str) -> Row:
    """The row of a provider that signs."""
    found = BY_NAME[name].row
    assert found is not None
    return found


TIMED = [name for name in SIGNING if row(name).timed and row(name).tolerance is not None]


def test_no_two_providers_share_a_name() -> None:
    """A source names its scheme, so a name means one provider."""
    assert len(BY_NAME) == len(KNOWN)
    assert [provider.name for provider in KNOWN] == sorted(BY_NAME)
    for provider in KNOWN:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", provider.name)
        assert provider.about
        assert (provider.row is None) != (provider.token is None)


@each("name", PUBLISHED)
def test_what_the_provider_published_verifies(name: str) -> None:
    """The row takes the provider's own signature, and refuses it for another body, secret or time."""
    vector = VECTORS[name]
    made = built(name, [NEW, vector.secret])
    assert verdict(made, request(vector.body, vector.headers), now=vector.now) == 1
    assert verdict(made, request(vector.body + b" ", vector.headers), now=vector.now) == "mismatch"
    assert verdict(built(name), request(vector.body, vector.headers), now=vector.now) == "mismatch"
    if name in TIMED:
        assert verdict(made, request(vector.body, vector.headers), now=vector.now + 700) == "stale"


def test_the_second_vectors_verify() -> None:
    """Box's other signature is under its other key, and Sanity published a second one."""
    vector = VECTORS["box"]
    second = built("box", [b"SampleSecondaryKey"])
    assert verdict(second, request(vector.body, vector.headers), now=vector.now) == 0
    header = b"t=1633518820676,v1=e7C9h2sfbFfc4V7TEz7PSOp4IoNzl0UdVsBV-1wgdeA"
    sent = request(b'{"title":"GROQ-Hooks are neat"}', ((b"sanity-webhook-signature", header),))
    assert verdict(built("sanity", [b"try-me"]), sent) == 0


@each("name", SIGNING)
def test_both_secrets_verify_and_others_do_not(name: str) -> None:
    """What either of two secrets signed is taken, and the result tells which it was."""
    both = built(name, [OLD, NEW])
    assert verdict(both, signed(built(name), BODY)) == 0
    assert verdict(both, signed(built(name, [NEW]), BODY)) == 1
    assert verdict(built(name), signed(built(name, [NEW]), BODY)) == "mismatch"
    assert verdict(built(name), signed(built(name), b"")) == 0


@each("name", SIGNING)
def test_a_changed_request_does_not_verify(name: str) -> None:
    """The body is signed, and so are the time, the id and the URL where the row says so."""
    made = built(name)
    sent = signed(made, BODY, now=NOW - 10)
    for at in range(len(BODY)):
        changed = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        assert verdict(made, request(changed, sent.headers, url=sent.url)) == "mismatch"
    if made.needs_url:
        assert verdict(made, request(BODY, sent.headers, url=f"{URL}?a=1")) == "mismatch"
    later = signed(made, BODY, now=NOW, event_id="msg_2")
    for header in (row(name).timestamp_header, row(name).id_header, *row(name).signed.headers):
        if header is not None:
            moved = swapped(sent.headers, header, dict(later.headers)[header])
            assert verdict(made, request(BODY, moved, url=sent.url)) == "mismatch"


@each("name", SIGNING)
def test_a_missing_header_is_told(name: str) -> None:
    """The signature, the time, the id and whatever else is signed must be there."""
    made = built(name)
    sent = signed(made, BODY)
    needed = {row(name).header, row(name).timestamp_header, row(name).id_header, *row(name).signed.headers}
    for header in needed - {None}:
        assert header is not None
        assert verdict(made, request(BODY, without(sent.headers, header), url=sent.url)) == "missing"
    unsigned = swapped(sent.headers, row(name).header, b"?")
    assert verdict(made, request(BODY, unsigned, url=sent.url)) in {"malformed", "mismatch"}


@each("name", TIMED)
def test_a_stale_time_is_refused(name: str) -> None:
    """A signed time is taken within the row's tolerance, either way, which the file may change."""
    limit = row(name).tolerance
    assert limit is not None
    made = built(name)
    for away in (-limit, limit):
        assert verdict(made, signed(made, BODY, now=NOW + away)) == 0
        assert verdict(made, signed(made, BODY, now=NOW + away * 1.01)) == "stale"
    assert verdict(built(name, tolerance=5000.0), signed(made, BODY, now=NOW - 4000)) == 0


@each("name", [name for name in SIGNING if name not in TIMED])
def test_without_a_tolerance_the_age_is_not_checked(name: str) -> None:
    """Where no time is signed, or nobody says how old it may be, an old request verifies."""
    assert verdict(built(name), signed(built(name), BODY, now=NOW - 10**6)) == 0


@each("name", [name for name in SIGNING if row(name).unit is None])
def test_an_unstated_unit_is_not_read(name: str) -> None:
    """Where the provider does not say how its time is written, it is text that is signed, and no more."""
    assert not row(name).timed
    odd = replace(row(name), unit=replace(SECONDS, write=lambda _: b"Thu, 04 Jan 2024 18:05:25 GMT"))
    assert verdict(built(name), signed(hmac_scheme(odd, [OLD]), BODY)) == 0


@each("name", TOKENS)
def test_a_token_is_compared_and_proves_nothing_more(name: str) -> None:
    """A plain secret is taken from where the provider shows it, and never kept."""
    both = built(name, [OLD, NEW])
    sent = signed(built(name, [NEW]), BODY)
    assert both.name == name
    assert verdict(both, sent) == 1
    assert verdict(built(name), sent) == "mismatch"
    assert verdict(both, request(BODY, ())) == "missing"
    assert both.proof == "authenticated"
    assert len(both.secret_headers) == 1
    assert both.secret_headers.isdisjoint(both.mac_headers)


def test_only_rows_that_nobody_confirms_are_experimental() -> None:
    """A vector, a library or samples of the provider make a row dependable; prose alone does not."""
    assert {name: built(name).experimental for name in ("gocardless", "clerk", "checkr", "datadog")} == {
        "gocardless": False,
        "clerk": False,
        "checkr": False,
        "datadog": False,
    }
    assert built("notion").experimental
    assert built("webflow").experimental
    bare = replace(BY_NAME["gocardless"], confirmed_by=None)
    assert bare.experimental


def test_several_signatures_in_one_request() -> None:
    """Each layout of several signatures is read whole: one good signature among others suffices."""
    for name, bad in (
        ("pagerduty", b"v1=" + b"0" * 64),
        ("cronofy", b"AAAA"),
        ("circleci", b"v2=" + b"0" * 64),
        ("mux", b"v1=" + b"0" * 64),
        ("recurly", b"0" * 64),
    ):
        made = built(name)
        sent = signed(made, BODY)
        good = dict(sent.headers)[row(name).header]
        for value in (good + b"," + bad, good + b", " + bad):
            assert verdict(made, request(BODY, swapped(sent.headers, row(name).header, value))) == 0


def test_persona_writes_a_group_for_each_key() -> None:
    """While a key rolls, groups of time and signature stand side by side, and either may verify."""
    old, new = (
        dict(signed(built("persona", [key]), BODY).headers)[b"persona-signature"] for key in (OLD, NEW)
    )
    for groups in (old + b" " + new, new + b" " + old):
        assert verdict(built("persona"), request(BODY, ((b"persona-signature", groups),))) == 0
    assert verdict(built("persona"), request(BODY, ((b"persona-signature", new),))) == "mismatch"


@pytest.mark.parametrize("number", [2, 16, 100])
def test_docusign_numbers_its_headers(number: int) -> None:
    """A signature may stand in any of the numbered headers, which may leave gaps."""
    made = built("docusign")
    name = b"x-docusign-signature-%d" % number
    mac = dict(signed(made, BODY).headers)[b"x-docusign-signature-1"]
    assert verdict(made, request(BODY, ((b"x-docusign-signature-1", b"AAAA"), (name, mac)))) == 0
    assert verdict(made, request(BODY, ((name, mac),))) == 0
    assert name in made.mac_headers
    assert verdict(made, request(BODY, ((b"x-docusign-signature-101", mac),))) == "missing"


@pytest.mark.parametrize(
    ("name", "stamp", "expected"),
    [
        ("twitch", b"2023-11-14T22:13:20.123456789Z", 0),
        ("twitch", b"2023-11-14T15:13:20-07:00", 0),
        ("twitch", b"2023-11-14T15:13:20-0700", 0),
        ("twitch", b"2023-11-14T22:13:20", "malformed"),
        ("twitch", b"2023-11-14 22:13:20Z", "malformed"),
        ("twitch", b"2023-11-14", "malformed"),
        ("twitch", b"2023-13-14T22:13:20Z", "malformed"),
        ("twitch", b"2023-W46-2T22:13:20Z", "malformed"),
        ("twitch", b"1700000000", "malformed"),
        ("twitch", b"2023-11-14T22:13:20+99:99", "malformed"),
        ("twitch", b"0001-01-01T00:00:00+23:59", "stale"),
        ("twitch", b"9999-12-31T23:59:59-23:59", "stale"),
        ("twitch", "2023-11-14T22:13:20Ż".encode(), "malformed"),
        ("front", b"1700000000000", 0),
        ("front", b"1700000299999", 0),
        ("front", b"1700000300001", "stale"),
        ("front", b"1700000000", "stale"),
        ("front", b"1700000000000.5", "malformed"),
        ("front", b"-1700000000000", "malformed"),
        ("webflow", b"1700000000", 0),
        ("webflow", b"1700000000123", 0),
        ("webflow", b"1699999699", "stale"),
        ("webflow", b"1699999699999", "stale"),
        ("webflow", b"2023-11-14T22:13:20Z", "malformed"),
    ],
)
def test_units_of_time(name: str, stamp: bytes, expected: int | str) -> None:
    """Milliseconds and dates are read strictly, and either of seconds and milliseconds by its size."""
    made = built(name)
    fixed = replace(row(name), unit=replace(SECONDS, write=lambda _: stamp))
    assert verdict(made, signed(hmac_scheme(fixed, [OLD]), BODY)) == expected


def test_a_template_names_headers_and_parameters() -> None:
    """Values of other headers and of the query can be signed, and must then be there."""
    template = Signed.compile("{query:data.id};{header:x-request-id};{body}")
    made = hmac_scheme(Row(name="made", about="", header=b"x-mac", signed=template), [OLD])
    url = f"{URL}?data.id=a%20b&data.id=c"
    sent = signed(made, BODY, url=url)
    assert verdict(made, sent) == 0
    assert verdict(made, request(BODY, sent.headers, url=f"{URL}?data.id=a+b")) == 0
    assert verdict(made, request(BODY, sent.headers, url=f"{URL}?data.id=c")) == "mismatch"
    assert verdict(made, request(BODY, sent.headers, url=URL)) == "missing"
    assert verdict(made, request(BODY, without(sent.headers, b"x-request-id"), url=url)) == "missing"


def test_mandrill_signs_the_fields_in_the_order_of_their_names() -> None:
    """The order of the fields does not matter and their values do, and an empty ping is signed by its URL."""
    made = built("mandrill")
    sent = signed(made, b"b=%C3%A9+x&a=1")
    assert dict(sent.headers)[b"content-type"] == b"application/x-www-form-urlencoded"
    assert verdict(made, request(b"a=1&b=%c3%a9%20x", sent.headers)) == 0
    assert verdict(made, request(b"a=2&b=%c3%a9%20x", sent.headers)) == "mismatch"
    assert verdict(made, request(b"&".join([b"a=1"] * 1001), sent.headers)) == "malformed"
    assert verdict(made, signed(made, b"")) == 0


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("onfleet", b"no hex"),
        ("onfleet", b" "),
        ("airtable", b"*"),
        ("ms-teams", b"="),
        ("telnyx", b"AAAA"),
        ("telnyx", b"*"),
        ("telnyx", pem(RSA)),
        ("wise", b"AAAA"),
        ("wise", b"*"),
        ("wise", ec_pem()),
        ("wise", b"-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_secret_that_is_no_key_is_named_by_its_place(name: str, secret: bytes) -> None:
    """Where the key is shown as hex, base64 or PEM, another secret is refused when the file is read."""
    with pytest.raises(ValueError, match=f"secret 2 of scheme {name} must be"):
        built(name, [OLD, secret])


@pytest.mark.parametrize("name", ["telnyx", "wise"])
def test_a_public_key_verifies_and_cannot_sign(name: str) -> None:
    """What the provider shows is enough to verify what its private key signed, and for no more."""
    form = (
        (Encoding.Raw, PublicFormat.Raw)
        if name == "telnyx"
        else (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    private = load_pem_private_key(private_keys(name)[OLD], None)
    shown = base64.b64encode(private.public_key().public_bytes(*form))
    assert verdict(built(name, [shown]), signed(built(name), BODY)) == 0
    with pytest.raises(UsageError):
        signed(built(name, [shown]), BODY)


def asked(query: str, *headers: tuple[bytes, bytes]) -> Request:
    """A GET that asks for an answer."""
    return request(b"", headers, url=f"{URL}?{query}", method="GET")


def test_handshakes_without_a_signature() -> None:
    """Nylas, Okta and LinkedIn are answered what they ask, by GET alone."""
    nylas = built("nylas").greet(asked("challenge=a%2Bb"))
    assert nylas is not None
    assert (nylas.status, nylas.content_type, nylas.body) == (200, "text/plain", b"a+b")
    okta = built("okta").greet(asked("", (b"x-okta-verification-challenge", b'a"b')))
    assert okta is not None
    assert json.loads(okta.body) == {"verification": 'a"b'}
    code = "890e4665-4dfe-4ab1-b689-ed553bceeed0"
    linkedin = built("linkedin").greet(asked(f"challengeCode={code}"))
    assert linkedin is not None
    assert json.loads(linkedin.body)["challengeCode"] == code
    for name in ("nylas", "okta", "linkedin"):
        posted = request(b"", ((b"x-okta-verification-challenge", b"a"),), url=f"{URL}?challenge=a")
        assert built(name).greet(posted) is None
        assert built(name).greet(asked("")) is None


def test_linkedin_signs_no_text_of_a_stranger() -> None:
    """Only a UUID is answered with a MAC by the key, and such an answer is no signature of an event."""
    for text in ("hmacsha256%3D%7B%7D", "", "890e4665-4dfe-4ab1-b689-ed553bceeed0%0a"):
        assert greeted(built("linkedin"), asked(f"challengeCode={text}")) == "challenge_code"
    code = "890e4665-4dfe-4ab1-b689-ed553bceeed0"
    answer = built("linkedin").greet(asked(f"challengeCode={code}"))
    assert answer is not None
    mac = json.loads(answer.body)["challengeResponse"].encode()
    assert verdict(built("linkedin"), request(code.encode(), ((b"x-li-signature", mac),))) == "mismatch"


def greeted(scheme: Scheme, sent: Request) -> str | None:
    """The reason for which a handshake is refused."""
    with pytest.raises(SignatureError) as caught:
        scheme.greet(sent)
    return caught.value.reason


def test_twitch_is_answered_its_challenge() -> None:
    """The challenge of a verification is sent back as text, once its signature passed."""
    made = built("twitch")
    kind: Headers = ((b"twitch-eventsub-message-type", b"webhook_callback_verification"),)
    sent = signed(made, b'{"challenge": "pogchamp"}')
    asking = replace(sent, headers=sent.headers + kind)
    assert verdict(made, asking) == 0
    answer = made.answer(asking, parser(asking))
    assert answer is not None
    assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"pogchamp")
    assert made.answer(sent, parser(sent)) is None
    for body in (b"[]", b'{"challenge": 5}', b"no"):
        other = request(body, kind)
        assert made.answer(other, parser(other)) is None
