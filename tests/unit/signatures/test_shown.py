"""Senders who show something rather than sign the body: Mailgun, Microsoft Graph, and JSON Web Tokens."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.errors import SignatureError, UsageError
from relay.model import Request
from relay.signatures import Scheme, build
from tests.unit.signatures import authority
from tests.unit.signatures.helpers import NOW, request, scheme, signed, verdict

FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)
STAMP = str(int(NOW))


def mailgun(**changes: Any) -> dict[str, Any]:
    """Mailgun's three fields, recomputed by hand; some changed after they are signed."""
    token = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"
    mac = hmac.new(b"secret", f"{STAMP}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": STAMP, "token": token, "signature": mac, **changes}


def as_json(value: object) -> Request:
    """A request with a body of JSON."""
    return request(json.dumps(value).encode(), ())


def test_mailguns_recipe_in_both_shapes() -> None:
    """JSON has the three fields under `signature`, the older form among its own; bad UTF-8 does no harm."""
    made = scheme("mailgun", secrets=[b"other", b"secret"])
    assert verdict(made, as_json({"signature": mailgun(), "event-data": {"event": "opened"}})) == 1
    assert verdict(made, as_json({"signature": mailgun(timestamp=int(NOW))})) == 1
    assert verdict(made, request(urlencode({"event": "opened", **mailgun()}).encode(), FORM)) == 1
    assert verdict(made, request(urlencode(mailgun()).encode() + b"&x=%ff", FORM)) == 1


def test_mailguns_parent_signs_as_well() -> None:
    """A subaccount's request verifies by the parent's key, too."""
    parent = mailgun()["signature"]
    fields = mailgun(signature="0" * 64, **{"parent-signature": parent})
    assert verdict(scheme("mailgun"), as_json({"signature": fields})) == 0
    fields = mailgun(**{"parent-signature": "0" * 64})
    assert verdict(scheme("mailgun"), as_json({"signature": fields})) == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"signature": mailgun(token="b")}, "mismatch"),
        ({"signature": mailgun(timestamp="1700000001")}, "mismatch"),
        ({"signature": mailgun(signature="é")}, "mismatch"),
        ({"signature": mailgun(signature="\ud800")}, "mismatch"),
        ({"signature": mailgun(signature=5)}, "mismatch"),
        ({"signature": mailgun(token=None)}, "malformed"),
        ({"signature": mailgun(timestamp=True)}, "malformed"),
        ({"signature": "x"}, "missing"),
        ({"signature": {}}, "missing"),
        ([], "missing"),
        (None, "missing"),
    ],
)
def test_what_mailgun_did_not_sign(value: object, reason: str) -> None:
    """Another token or time is a mismatch, and whatever else stands there a refusal."""
    assert verdict(scheme("mailgun"), as_json(value)) == reason


def test_mailguns_time_is_checked_where_that_is_written() -> None:
    """Mailgun states no window: it is off, and may be written; a time that is none is refused."""
    old = as_json({"signature": mailgun()})
    assert verdict(scheme("mailgun"), old, now=NOW + 10_000) == 0
    assert verdict(scheme("mailgun", tolerance=300), old, now=NOW + 301) == "stale"
    mac = hmac.new(b"secret", b"abctoken", hashlib.sha256).hexdigest()
    fields = {"timestamp": "abc", "token": "token", "signature": mac}
    assert verdict(scheme("mailgun"), as_json({"signature": fields})) == "malformed"
    assert verdict(scheme("mailgun"), request(b"\xff", ())) == "malformed"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"clientState": "state"}], 0),
        ([{"clientState": "other"}, {"clientState": "state"}], 1),
        ([{"clientState": "state"}, {"clientState": "forged"}], "mismatch"),
        ([{"clientState": "forged"}, {"clientState": "state"}], "mismatch"),
        ([{"clientState": "state"}, {}], "missing"),
        ([{"clientState": "state"}, {"clientState": ""}], "missing"),
        ([{"clientState": "state"}, {"clientState": None}], "missing"),
        ([{"clientState": "state"}, 5], "missing"),
        ([{"clientState": ["state"]}], "missing"),
        ([{"clientState": "é"}], "mismatch"),
        ([{"clientState": "\ud800"}], "mismatch"),
        ([], "malformed"),
        ({"clientState": "state"}, "malformed"),
        (None, "malformed"),
        ([{"clientState": "state"}] * 10_001, "malformed"),
    ],
)
def test_every_item_of_graph_is_compared(items: object, expected: int | str) -> None:
    """No item rides behind a good one, first or last."""
    made = scheme("microsoft-graph", client_state=[b"state", b"other"])
    assert verdict(made, as_json({"value": items})) == expected


def test_graph_is_authenticated_and_no_more() -> None:
    """A state that is shown proves nothing about the body."""
    assert scheme("microsoft-graph").proof == "authenticated"
    for body in (b"", b"[" * 100_000, b"[]", b"\xff"):
        assert verdict(scheme("microsoft-graph"), request(body, ())) == "malformed"


def test_what_a_pass_means_is_said() -> None:
    """A signature verifies, a shown secret authenticates, and `none` does neither."""
    for kind in ("github", "discord", "sns", "mailgun"):
        assert scheme(kind).proof == "verified"
    for kind in ("basic", "bearer", "api-key", "jwt", "microsoft-graph"):
        assert scheme(kind).proof == "authenticated"
    assert scheme("none").proof == "none"


SECRET = b"a secret of thirty-two bytes, or more"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
JWKS_URL = "https://id.example/keys"
CLAIMS = {"iss": "https://id.example", "aud": "relay", "exp": NOW + 60}


def bearer(token: str | bytes) -> Request:
    """A request that shows this token."""
    shown = token.encode() if isinstance(token, str) else token
    return request(b"{}", ((b"authorization", b"Bearer " + shown),))


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def bound(*secrets: bytes) -> Scheme:
    """A scheme with an issuer and an audience."""
    return build("jwt", {"secrets": list(secrets), "issuer": "https://id.example", "audience": ["relay"]})


@pytest.mark.parametrize(("key", "algorithm"), [(SECRET, "HS256"), (RSA, "RS256"), (EC, "ES256")])
def test_each_kind_of_key_has_its_algorithm(key: Any, algorithm: str) -> None:
    """A secret takes HS256 alone, an RSA key RS256 and a P-256 key ES256, whatever the token says."""
    made = bound(SECRET, public_pem(RSA), public_pem(EC))
    token = jwt.encode(CLAIMS, key, algorithm=algorithm)
    assert verdict(made, bearer(token)) == ["HS256", "RS256", "ES256"].index(algorithm)
    only = bound(key if isinstance(key, bytes) else public_pem(key))
    assert verdict(only, bearer(token)) == 0
    assert verdict(only, bearer(token[:-8] + "AAAAAAAA")) in {"mismatch", "malformed"}


def test_a_public_key_is_no_secret_of_hs256() -> None:
    """A token made with the public key as its secret is refused, and one without a signature too."""
    made = bound(public_pem(RSA))
    header = {"alg": "HS256", "typ": "JWT"}
    parts = ".".join(jwt.utils.base64url_encode(json.dumps(p).encode()).decode() for p in (header, CLAIMS))
    mac = hmac.digest(public_pem(RSA), parts.encode(), "sha256")
    forged = f"{parts}.{jwt.utils.base64url_encode(mac).decode()}"
    assert verdict(made, bearer(forged)) == "mismatch"
    assert verdict(made, bearer(jwt.encode(CLAIMS, "", algorithm="none"))) in {"mismatch", "malformed"}
    for algorithm in ("RS384", "PS256", "RS512"):
        assert verdict(made, bearer(jwt.encode(CLAIMS, RSA, algorithm=algorithm))) == "mismatch"
    assert verdict(bound(SECRET), bearer(jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512"))) == "mismatch"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"exp": NOW - 29}, 0),
        ({"exp": NOW - 30}, "stale"),
        ({"nbf": NOW + 30}, 0),
        ({"nbf": NOW + 31}, "stale"),
        ({"exp": None}, "malformed"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": 10**400}, "malformed"),
        ({"nbf": [1]}, "malformed"),
        ({"iss": "https://id.example/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["https://id.example"]}, "issuer"),
        ({"aud": ["x", "relay"]}, 0),
        ({"aud": "relays"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": [5, None]}, "audience"),
        ({"aud": {"relay": 1}}, "audience"),
    ],
)
def test_what_the_token_claims_is_checked(changes: dict[str, Any], expected: int | str) -> None:
    """Issuer, audience and both times are checked, by the clock that is handed in."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    payload = json.dumps(claims).encode()
    token = jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")
    assert verdict(bound(SECRET), bearer(token)) == expected


@pytest.mark.parametrize(
    "token",
    [
        b"a",
        b"a.b",
        b"a.b.c",
        b"a.b.c.d",
        b"..",
        "é.é.é".encode(),
        b"e30.e30.e30",
        b"a." * 20_000 + b"b",
        b".",
    ],
)
def test_what_is_no_token_is_refused(token: bytes) -> None:
    """Whatever stands behind Bearer ends in a refusal."""
    assert verdict(bound(SECRET), bearer(token)) in {"malformed", "mismatch"}
    for payload in (b"[]", b"5", b"\xff", b"[" * 5000):
        token = jwt.PyJWS().encode(payload, SECRET, algorithm="HS256").encode()
        assert verdict(bound(SECRET), bearer(token)) == "malformed"


def key_set(*entries: tuple[str | None, Any], **more: Any) -> bytes:
    """A key set with these keys by their ids."""
    keys = []
    for kid, key in entries:
        algorithm = (
            jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        )
        keys.append(
            {**algorithm.to_jwk(key.public_key(), as_dict=True), **({"kid": kid} if kid else {}), **more}
        )
    return json.dumps({"keys": keys}).encode()


def by_set(token: str, document: bytes) -> int | str | None:
    """What a scheme with this key set says to a token."""
    made = build("jwt", {"jwks_url": JWKS_URL, "issuer": "https://id.example", "audience": ["relay"]})
    assert made.documents(bearer(token)) == (JWKS_URL,)
    try:
        return made.verify_with(bearer(token), now=NOW, documents={JWKS_URL: document}).secret_index
    except SignatureError as error:
        return error.reason


def test_a_key_set_is_asked_by_kid() -> None:
    """The key that the token names verifies; one that is not there may be in a newer copy."""
    by_rsa = jwt.encode(CLAIMS, RSA, algorithm="RS256", headers={"kid": "a"})
    by_ec = jwt.encode(CLAIMS, EC, algorithm="ES256", headers={"kid": "b"})
    nameless = jwt.encode(CLAIMS, RSA, algorithm="RS256")
    both = key_set(("a", RSA), ("b", EC))
    assert by_set(by_rsa, both) is None
    assert by_set(by_ec, both) is None
    assert by_set(by_rsa, key_set(("a", EC))) == "mismatch"
    assert by_set(by_rsa, key_set(("b", RSA))) == "unknown_key"
    assert by_set(by_rsa, key_set(("a", RSA), ("a", RSA))) == "unknown_key"
    assert by_set(nameless, key_set(("a", RSA))) is None
    assert by_set(nameless, both) == "unknown_key"


def test_keys_for_other_uses_are_passed_over() -> None:
    """Keys for encryption, of other algorithms, too short ones, secrets and nonsense are no keys."""
    token = jwt.encode(CLAIMS, RSA, algorithm="RS256", headers={"kid": "a"})
    short = rsa.generate_private_key(65537, 1024)
    secret = jwt.utils.base64url_encode(SECRET).decode()
    with_secret = json.dumps({"keys": [{"kty": "oct", "kid": "a", "k": secret}]}).encode()
    assert by_set(token, key_set(("a", RSA), use="enc")) == "unknown_key"
    assert by_set(token, key_set(("a", RSA), alg="RS512")) == "unknown_key"
    assert by_set(token, key_set(("a", short))) == "unknown_key"
    assert (
        by_set(jwt.encode(CLAIMS, SECRET, algorithm="HS256", headers={"kid": "a"}), with_secret)
        == "unknown_key"
    )
    assert by_set(token, b'{"keys": [5, {}, {"kty": "RSA"}]}') == "unknown_key"
    for document in (b"", b"[]", b"{}", b'{"keys": 5}', b"<html>", b"[" * 10_000):
        assert by_set(token, document) == "unreadable"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either secrets or jwks_url"),
        ({"secrets": [SECRET], "jwks_url": JWKS_URL}, "either secrets or jwks_url"),
        (
            {"jwks_url": "http://id.example/keys", "issuer": "a", "audience": ["b"]},
            "must begin with https://",
        ),
        ({"jwks_url": JWKS_URL}, "issuer and audience are needed"),
        ({"jwks_url": JWKS_URL, "issuer": "a"}, "issuer and audience are needed"),
        ({"secrets": [public_pem(RSA)], "audience": ["a"]}, "issuer and audience are needed"),
        ({"secrets": [b"short"]}, "secret 1 of scheme jwt must have 32 bytes at least"),
        ({"secrets": [SECRET, b"-----BEGIN X"]}, "secret 2 of scheme jwt must be a public key as PEM"),
        ({"secrets": [b"-----BEGIN PRIVATE KEY-----"]}, "must be a private key as PEM"),
        ({"secrets": [authority.ed25519_pem()]}, "RSA key of 2048 bits at least, or a P-256 key"),
        ({"secrets": [SECRET], "audience": []}, "audience must hold at least one"),
        ({"secrets": [SECRET], "audience": ["a", ""]}, "audience must be a list of texts"),
        ({"secrets": [SECRET], "audience": "a"}, "audience must be a list of texts"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str) -> None:
    """What is wrong is said, and no secret with it."""
    with pytest.raises(ValueError, match=message) as caught:
        build("jwt", options)
    assert "thirty-two" not in str(caught.value)


def test_a_token_is_made_by_who_has_a_key() -> None:
    """A secret and a private key make tokens; a public key, and a key set, refuse with the reason."""
    assert verdict(bound(SECRET), signed(bound(SECRET), b"{}")) == 0
    for key in (RSA, EC):
        assert verdict(bound(public_pem(key)), signed(bound(authority.pem(key)), b"{}")) == 0
    options = {"jwks_url": JWKS_URL, "issuer": "a", "audience": ["b"]}
    for made in (bound(public_pem(RSA)), build("jwt", options)):
        with pytest.raises(UsageError, match="only the issuer"):
            signed(made, b"{}")
    free = build("jwt", {"secrets": [SECRET]})
    assert verdict(free, signed(free, b"{}")) == 0
    assert free.secret_headers == {b"authorization"}
