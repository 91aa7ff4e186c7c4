"""Schemes by public keys and certificates, against the providers' own libraries where there are any."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime
from typing import Any

import discord_interactions  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]

from relay.errors import SignatureError, UsageError
from relay.model import Headers, Request
from relay.signatures import build
from tests.unit.signatures import authority
from tests.unit.signatures.authority import CERTIFICATES, PAYPAL_URL, RSA, SNS_URL
from tests.unit.signatures.helpers import NOW, request, scheme, signed, swapped, verdict, without

BODY = '{"type": 2, "text": "é"}'.encode()
STAMP = b"%d" % NOW
SENDGRID_KEY = (
    b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw"
    b"+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
SENDGRID_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)
SENDGRID_SIGNATURE = (
    b"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
)


def test_discords_library_and_we_agree() -> None:
    """What a key signs verifies in both, what we sign verifies there, and a changed body in neither."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw().hex()
    made = build("discord", {"secrets": [public.encode()]})
    signature = private.sign(STAMP + BODY).hex()
    headers = ((b"x-signature-timestamp", STAMP), (b"x-signature-ed25519", signature.encode()))
    assert verdict(made, request(BODY, headers)) == 0
    assert discord_interactions.verify_key(BODY, signature, STAMP.decode(), public)
    assert verdict(made, request(BODY + b" ", headers)) == "mismatch"
    signer = build("discord", {"secrets": [authority.pem(private)]})
    written = dict(signed(signer, BODY).headers)[b"x-signature-ed25519"].decode()
    assert discord_interactions.verify_key(BODY, written, STAMP.decode(), public)
    assert verdict(made, signed(signer, BODY)) == 0


def test_discord_and_sendgrid_check_no_age_unless_told() -> None:
    """Neither provider states a window: it is off, and may be written."""
    for kind in ("discord", "sendgrid"):
        sent = signed(scheme(kind), BODY, now=NOW - 10_000)
        old = scheme(kind)
        assert verdict(old, signed(old, BODY, now=NOW - 10_000)) == 0
        strict = scheme(kind, tolerance=300)
        assert verdict(strict, signed(strict, BODY, now=NOW - 301)) == "stale"
        assert verdict(strict, signed(strict, BODY, now=NOW + 300)) == 0
        name = next(name for name, _ in sent.headers if name.endswith(b"timestamp"))
        assert verdict(old, request(BODY, swapped(sent.headers, name, b"abc"))) == "malformed"


def test_a_signature_that_is_no_hex_is_a_mismatch() -> None:
    """Whatever stands in Discord's header, the answer is a refusal."""
    made = scheme("discord")
    sent = signed(made, BODY)
    for value in (b"zz", b"0", b"00" * 63, b"00" * 65, b"00" * 64, "é".encode(), b" "):
        assert (
            verdict(made, request(BODY, swapped(sent.headers, b"x-signature-ed25519", value))) == "mismatch"
        )


def test_sendgrids_vector() -> None:
    """The example of SendGrid's library verifies, the line break at its end being signed as well."""
    made = build("sendgrid", {"secrets": [SENDGRID_KEY]})
    headers = (
        (b"x-twilio-email-event-webhook-timestamp", b"1600112502"),
        (b"x-twilio-email-event-webhook-signature", SENDGRID_SIGNATURE),
    )
    assert verdict(made, request(SENDGRID_BODY, headers)) == 0
    assert verdict(made, request(SENDGRID_BODY.rstrip(), headers)) == "mismatch"


def test_sendgrids_library_and_we_agree() -> None:
    """What we sign with a key, SendGrid's library verifies by its public half."""
    pem = authority.ec_pem()
    private = load_pem_private_key(pem, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = base64.b64encode(der).decode()
    sent = dict(signed(build("sendgrid", {"secrets": [pem]}), BODY).headers)
    signature = sent[b"x-twilio-email-event-webhook-signature"].decode()
    library: Any = EventWebhook(public)
    assert library.verify_signature(BODY.decode(), signature, STAMP.decode())
    made = build("sendgrid", {"secrets": [public.encode()]})
    assert verdict(made, request(BODY, tuple(sent.items()))) == 0


@pytest.mark.parametrize("kind", ["discord", "sendgrid"])
def test_a_public_key_cannot_sign(kind: str) -> None:
    """Posting as the provider takes a private key, and the refusal says so."""
    public = SENDGRID_KEY if kind == "sendgrid" else b"00" * 31 + b"01"
    with pytest.raises(UsageError, match="only the provider holds the key"):
        signed(build(kind, {"secrets": [public]}), BODY)


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("discord", b"00" * 31),
        ("discord", b"g" * 64),
        ("discord", b"-----BEGIN nonsense"),
        ("discord", authority.ec_pem()),
        ("sendgrid", b"AAAA"),
        ("sendgrid", b"%%%%"),
        ("sendgrid", authority.ed25519_pem()),
        ("sendgrid", authority.pem(RSA)),
        (
            "sendgrid",
            base64.b64encode(
                ec.generate_private_key(ec.SECP384R1())
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ),
        ),
    ],
)
def test_what_is_no_key_is_refused_by_its_place(kind: str, secret: bytes) -> None:
    """A key of another kind is a mistake in the file, named by its number and not shown."""
    with pytest.raises(ValueError, match=f"secret 1 of scheme {kind} must be") as caught:
        build(kind, {"secrets": [secret]})
    assert secret.decode("latin-1") not in str(caught.value)


def paypal(body: bytes = BODY, **changes: bytes) -> Headers:
    """Headers as PayPal makes them, recomputed by hand; some changed before they are signed."""
    identity, stamp, webhook = b"id-1", b"2023-11-14T22:13:20Z", changes.pop("webhook", b"WH-1")
    message = b"|".join((identity, stamp, webhook, str(zlib.crc32(body) & 0xFFFFFFFF).encode()))
    signature = RSA.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return (
        (b"paypal-transmission-id", identity),
        (b"paypal-transmission-time", stamp),
        (b"paypal-transmission-sig", base64.b64encode(signature)),
        (b"paypal-cert-url", changes.pop("url", PAYPAL_URL.encode())),
        (b"paypal-auth-algo", changes.pop("algorithm", b"SHA256withRSA")),
    )


def test_paypals_recipe_by_hand() -> None:
    """Id, time, webhook id and checksum are signed; the digest that a header names is not asked."""
    made = scheme("paypal", webhook_id=["WH-0", "WH-1"])
    assert made.experimental
    assert verdict(made, request(BODY, paypal())) == 1
    assert verdict(made, request(BODY, paypal(algorithm=b"none"))) == 1
    assert verdict(made, request(BODY, paypal(webhook=b"WH-2"))) == "mismatch"
    assert verdict(made, request(BODY + b" ", paypal())) == "mismatch"
    assert verdict(made, request(BODY, swapped(paypal(), b"paypal-transmission-sig", b"%"))) == "malformed"
    assert verdict(made, request(BODY, swapped(paypal(), b"paypal-transmission-time", b"now"))) == "malformed"
    for name, _ in paypal()[:4]:
        assert verdict(made, request(BODY, without(paypal(), name))) == "missing"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.paypal.com/v1/notifications/certs/CERT",
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT",
        "https://evil.example/v1/notifications/certs/CERT",
        "https://apixpaypal.com/v1/notifications/certs/CERT",
        "https://user@api.paypal.com/v1/notifications/certs/CERT",
        "https://api.paypal.com:444/v1/notifications/certs/CERT",
        "https://api.paypal.com/v1/notifications/certs/../../x",
        "https://api.paypal.com/v1/notifications/certs/CERT?x",
        "https://api.paypal.com/v1/notifications/certs/CERT\n",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://API.PAYPAL.COM@evil.example/v1/notifications/certs/CERT",
    ],
)
def test_paypals_certificate_is_pinned(url: str) -> None:
    """No address but PayPal's own, whole, is ever fetched."""
    asked = request(BODY, paypal(url=url.encode()))
    with pytest.raises(SignatureError) as caught:
        scheme("paypal").documents(asked)
    assert caught.value.reason == "certificate"
    sandbox = b"https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"
    assert scheme("paypal").documents(request(BODY, paypal(url=sandbox))) == (sandbox.decode(),)


PEM = "SimpleNotificationService-1.pem"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": TOPIC,
    "Subject": "My First Message",
    "Message": "Hello\nworld é",
    "Timestamp": "2023-11-14T22:13:20.000Z",
    "SignatureVersion": "1",
    "SigningCertURL": SNS_URL,
    "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
}
SUBSCRIPTION = {
    **{name: value for name, value in NOTIFICATION.items() if name not in {"Subject", "UnsubscribeURL"}},
    "Type": "SubscriptionConfirmation",
    "Token": "2336412f37",
    "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
}


def sns(fields: dict[str, Any], *names: str, sha1: bool = True) -> Request:
    """A message as SNS makes it, recomputed by hand over the named fields."""
    text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
    digest = hashes.SHA1() if sha1 else hashes.SHA256()
    signature = RSA.sign(text.encode(), padding.PKCS1v15(), digest)
    body = {**fields, "Signature": base64.b64encode(signature).decode()}
    return request(json.dumps(body).encode(), ((b"content-type", b"text/plain; charset=UTF-8"),))


def notification(**changes: Any) -> Request:
    """A notification, some of its fields changed before it is signed."""
    fields = {name: value for name, value in {**NOTIFICATION, **changes}.items() if value is not None}
    order = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    return sns(fields, *order, sha1=fields["SignatureVersion"] == "1")


def subscription(**changes: str) -> Request:
    """A request to confirm a subscription."""
    order = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    return sns({**SUBSCRIPTION, **changes}, *order)


def test_snss_recipe_by_hand() -> None:
    """The fields in their order are signed, by SHA-1 in version 1 and SHA-256 in version 2."""
    made = scheme("sns")
    assert made.experimental
    assert verdict(made, notification()) == 0
    assert verdict(made, notification(Subject=None)) == 0
    assert verdict(made, notification(SignatureVersion="2")) == 0
    assert verdict(made, subscription()) == 0
    for name in ("Message", "MessageId", "Subject", "Timestamp"):
        sent = notification()
        changed = json.dumps({**json.loads(sent.body), name: "2023-11-14T22:13:21Z"}).encode()
        assert verdict(made, request(changed, sent.headers)) == "mismatch", name
    as_two = json.dumps({**json.loads(notification().body), "SignatureVersion": "2"}).encode()
    assert verdict(made, request(as_two, ())) == "mismatch"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TopicArn": TOPIC + "x"}, "topic"),
        ({"TopicArn": "arn:aws:sns:eu-west-1:999999999999:orders"}, "topic"),
        ({"SignatureVersion": "3"}, "unsupported"),
        ({"SignatureVersion": ""}, "unsupported"),
        ({"Type": "Other"}, "malformed"),
        ({"MessageId": "a\nTimestamp"}, "malformed"),
        ({"Subject": 5}, "malformed"),
        ({"Timestamp": "yesterday"}, "malformed"),
        ({"SigningCertURL": f"http://sns.eu-west-1.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com.evil.example/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.evil.example/a.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.a.b.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://xsns.eu-west-1.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://s3.amazonaws.com/bucket/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com/{PEM}?b"}, "certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com:444/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://u@sns.eu-west-1.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com/{PEM}\n"}, "malformed"),
        ({"SigningCertURL": f"https://sns.s3.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.s3-us-west-2.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.s3-website-us-west-2.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.s3.amazonaws.com.cn/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.ecr.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com.cn/{PEM}"}, "certificate"),
        ({"SigningCertURL": f"https://sns.cn-north-1.amazonaws.com/{PEM}"}, "certificate"),
        ({"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/a.pem"}, "certificate"),
        (
            {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/x/SimpleNotificationService-1.pem"},
            "certificate",
        ),
        (
            {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-.pem"},
            "certificate",
        ),
    ],
)
def test_sns_is_refused_before_anything_is_fetched(changes: dict[str, Any], reason: str) -> None:
    """Another topic, version, type or address of the certificate is refused, however well it is signed."""
    made = scheme("sns")
    assert verdict(made, notification(**changes)) == reason
    if reason in {"topic", "certificate", "unsupported"}:
        with pytest.raises(SignatureError):
            made.documents(notification(**changes))


@pytest.mark.parametrize(
    "host",
    [
        "sns.us-east-1.amazonaws.com",
        "sns.ap-southeast-4.amazonaws.com",
        "sns.us-gov-west-1.amazonaws.com",
        "sns.il-central-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "sns.cn-northwest-1.amazonaws.com.cn",
    ],
)
def test_sns_is_amazons_in_every_region(host: str) -> None:
    """Certificates are at the same path of every region, those in China under .com.cn."""
    url = f"https://{host}/{PEM}"
    assert scheme("sns").documents(notification(SigningCertURL=url)) == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription&Token=a",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=a",
        "https://sns.eu-west-1.amazonaws.com/?Action=DeleteTopic&Token=a",
        "https://sns.eu-west-1.amazonaws.com@evil.example/?Action=ConfirmSubscription&Token=a",
        "https://sns.s3.amazonaws.com/?Action=ConfirmSubscription&Token=a",
    ],
)
def test_sns_confirms_nowhere_else(url: str) -> None:
    """A confirmation that leads elsewhere is refused, even if it is signed."""
    assert verdict(scheme("sns"), subscription(SubscribeURL=url)) == "malformed"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"Type": "Notification"}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_message_of_sns(body: bytes) -> None:
    """Whatever is posted ends in a refusal."""
    assert verdict(scheme("sns"), request(body, ())) in {"missing", "malformed"}


def test_a_time_of_sns_and_paypal_is_checked_where_that_is_written() -> None:
    """Neither provider states a window: it is off, and may be written."""
    for kind, asked in (("sns", notification()), ("paypal", request(BODY, paypal()))):
        assert verdict(scheme(kind), asked, now=NOW + 10_000) == 0
        assert verdict(scheme(kind, tolerance=300), asked, now=NOW + 301) == "stale"
        assert verdict(scheme(kind, tolerance=300), asked, now=NOW + 299) == 0


def test_certificates_that_cannot_verify() -> None:
    """An expired one and one of another kind of key refuse; what is no certificate is told apart."""
    made, asked = scheme("sns"), notification()
    expired = authority.certificate(RSA, end=datetime(2023, 2, 1, tzinfo=UTC))
    other = authority.certificate(ec.generate_private_key(ec.SECP256R1()))
    for content, reason in (
        (expired, "certificate"),
        (other, "certificate"),
        (b"", "unreadable"),
        (b"<html>sorry</html>", "unreadable"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "unreadable"),
    ):
        with pytest.raises(SignatureError) as caught:
            made.verify_with(asked, now=NOW, documents={SNS_URL: content})
        assert caught.value.reason == reason
    assert made.verify_with(asked, now=NOW, documents=CERTIFICATES).secret_index == 0


@pytest.mark.parametrize("kind", ["sns", "paypal"])
def test_only_the_provider_can_send(kind: str) -> None:
    """Posting as Amazon or PayPal is refused with the reason."""
    options: dict[str, object] = {"topics": [TOPIC]} if kind == "sns" else {"webhook_id": ["WH-1"]}
    with pytest.raises(UsageError, match="holds the key that signs"):
        signed(build(kind, options), BODY)
