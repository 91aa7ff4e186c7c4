"""Amazon SNS signs the fields of its JSON by a certificate that it publishes, and asks to be confirmed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.errors import SignatureError
from relay.expressions.parse import json_value
from relay.model import Headers, Request
from relay.signatures.event_fields import InBody, InHeader, Parsed
from relay.signatures.scheme import Answer, Outgoing, Scheme, Verified
from relay.signatures.schemes import certificates
from relay.signatures.timestamps import ISO

_CONFIRMATION: Final = "SubscriptionConfirmation"
_NOTIFIED: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMED: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": _NOTIFIED,
    _CONFIRMATION: _CONFIRMED,
    "UnsubscribeConfirmation": _CONFIRMED,
}
# Anchored whole: a host that only begins or ends like Amazon's is another one. The region has the shape of
# one: `sns.s3.amazonaws.com` and `sns.s3-us-west-2.amazonaws.com` are a bucket that anybody can make.
_PLACE: Final = r"(?:-[a-z]{2,20}){1,3}-[0-9]{1,2}"
_HOST: Final = rf"https://sns\.(?:(?!cn-)[a-z]{{2}}{_PLACE}\.amazonaws\.com|cn{_PLACE}\.amazonaws\.com\.cn)/"
_CERTIFICATE: Final = re.compile(_HOST + r"SimpleNotificationService-[A-Za-z0-9]{1,200}\.pem", re.ASCII)
_SUBSCRIBE: Final = re.compile(_HOST + r"\?Action=ConfirmSubscription&[!-~]{1,4000}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sns(Scheme):
    """Only of the topics in the file; a subscription is confirmed once its request is verified."""

    topics: tuple[str, ...]
    tolerance: float | None

    def documents(self, request: Request) -> tuple[str, ...]:
        """Name the certificate, if topic, version and address are as they must be."""
        return (self._checked(request)["SigningCertURL"],)

    def verify(self, request: Request, *, now: float) -> Verified:
        """Refuse: nothing can be said without the certificate."""
        return self.verify_with(request, now=now, documents={})

    def verify_with(self, request: Request, *, now: float, documents: Mapping[str, bytes]) -> Verified:
        """Check the signature of the fields, and the time's age if that is wanted."""
        shown = self._checked(request)
        certificates.check(
            documents.get(shown["SigningCertURL"], b""),
            signature=shown["Signature"].encode("utf-8", "replace"),
            message=signed_text(shown),
            now=now,
            sha1=shown["SignatureVersion"] == "1",
        )
        away = abs(now - ISO.read(shown["Timestamp"].encode("utf-8", "replace")))
        if self.tolerance is not None and away > self.tolerance:
            raise SignatureError("stale", f"the Timestamp is {away:.0f} s off")
        return Verified(self.topics.index(shown["TopicArn"]))

    def answer(self, request: Request, parsed: Parsed) -> Answer | None:
        """Answer a SubscriptionConfirmation; all else is an event."""
        return None if self.confirmation(request, parsed) is None else Answer(200, "text/plain", b"")

    def confirmation(self, request: Request, parsed: Parsed) -> str | None:  # noqa: ARG002 - read as it was verified
        """Name the SubscribeURL of a SubscriptionConfirmation."""
        if _CONFIRMATION.encode() not in request.body:  # saves parsing every other event once more
            return None
        shown = self._checked(request)
        return shown["SubscribeURL"] if shown["Type"] == _CONFIRMATION else None

    def _checked(self, request: Request) -> Mapping[str, str]:
        """Read the fields; SignatureError unless they may be what they say, but for the signature."""
        shown = _fields(request.body)
        if shown["TopicArn"] not in self.topics:
            raise SignatureError("topic", "TopicArn is not one of the topics in the file")
        if shown["SignatureVersion"] not in {"1", "2"}:
            raise SignatureError("unsupported", "SignatureVersion is neither 1 nor 2")
        if not _CERTIFICATE.fullmatch(shown["SigningCertURL"]):
            raise SignatureError("certificate", "SigningCertURL is not an address of Amazon SNS")
        if shown["Type"] == _CONFIRMATION and not _SUBSCRIBE.fullmatch(shown["SubscribeURL"]):
            raise SignatureError("malformed", "SubscribeURL is not an address of Amazon SNS")
        return shown

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:  # noqa: ARG002 - see Scheme
        """Raise UsageError: only Amazon can sign."""
        certificates.refuse_to_sign("Amazon")

    def content_type(self, body: bytes) -> bytes:  # noqa: ARG002 - see Scheme
        """SNS calls its JSON plain text."""
        return b"text/plain; charset=UTF-8"

    def write(self, outgoing: Outgoing) -> Headers:
        """No header signs: see `fill`."""
        return ((b"x-amz-sns-message-id", outgoing.event_id.encode()),)


def sns_scheme(topics: Sequence[str], *, tolerance: float | None) -> Sns:
    """Build the scheme for the ARNs of the topics."""
    return Sns(
        name="sns",
        experimental=True,
        type_at=(InBody(("Type",)),),
        # The header is not signed; it would do, but anyone who replays an event could change it.
        id_at=(InBody(("MessageId",)), InHeader(b"x-amz-sns-message-id")),
        topics=tuple(topics),
        tolerance=tolerance,
    )


def _fields(body: bytes) -> dict[str, str]:
    """Read every field that counts as text; SignatureError where one is missing or no text."""
    try:
        value = json_value(body)
    except ValueError:
        raise SignatureError("malformed", "the body is no JSON") from None
    if not isinstance(value, Mapping) or not value.get("Signature"):
        raise SignatureError("missing", "no Signature in the body")
    names = _SIGNED.get(str(value.get("Type")))
    if names is None:
        raise SignatureError("malformed", "Type is none of SNS")
    shown: dict[str, str] = {}
    for name in (*names, "Signature", "SignatureVersion", "SigningCertURL"):
        text = value.get(name)
        if text is None and name == "Subject":
            continue
        # A line break in a field could pass for the next field in what is signed; Message stands first.
        if not isinstance(text, str) or (name != "Message" and "\n" in text):
            raise SignatureError("malformed", f"{name} is missing, or not one line of text")
        shown[name] = text
    return shown


def signed_text(shown: Mapping[str, str]) -> bytes:
    """What the signature is made of: the fields of this type, each after its name."""
    names = _SIGNED[shown["Type"]]
    text = "".join(f"{name}\n{shown[name]}\n" for name in names if name in shown)
    return text.encode("utf-8", "replace")
