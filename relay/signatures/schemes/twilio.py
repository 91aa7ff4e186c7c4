"""Twilio signs the URL and the sorted fields of the form, or the URL with the body's digest in its query."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.event_fields import InHeader, Parsed, as_text
from relay.signatures.keys import BASE64, MacKey
from relay.signatures.mac.scheme import looks_like_json, sorted_fields
from relay.signatures.scheme import Identity, Outgoing, Scheme, Verified
from relay.signatures.schemes.shared_secret import with_parameter

_HEADER: Final = b"x-twilio-signature"
_DIGEST: Final = "bodySHA256"
_FORM: Final = b"application/x-www-form-urlencoded"
_IDEMPOTENCY: Final = b"i-twilio-idempotency-token"
_AUTHORITY: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?:[^/?#]*@)?(?P<host>[^/?#@]*?)(?P<port>:[0-9]*)?(?P<rest>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)

# What a callback is about: the field with its id, those with its status, and the type's first word.
# A recording's callback names its call too, so it comes first.
_SUBJECTS: Final = (
    ("RecordingSid", ("RecordingStatus",), "recording"),
    ("MessageSid", ("MessageStatus", "SmsStatus"), "message"),
    ("CallSid", ("CallStatus",), "call"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twilio(Scheme):
    """One digest for all secrets, by configuration: the header that names it is not signed."""

    keys: tuple[MacKey, ...] = field(repr=False)

    def verify(self, request: Request, *, now: float) -> Verified:  # noqa: ARG002 - Twilio signs no time
        """Try the URL with and without its port, as Twilio's own library does."""
        signature = request.header(_HEADER)
        if not signature:
            raise SignatureError("missing", f"no {_HEADER.decode()}")
        fields = _signed_fields(request)
        messages = [[url.encode("utf-8", "replace"), *fields] for url in _spellings(request.url)]
        found: int | None = None
        for index, key in enumerate(self.keys):
            for message in messages:
                if key.matches(message, (signature,)) and found is None:
                    found = index
        if found is None:
            raise SignatureError("mismatch", f"no secret made this {_HEADER.decode()}; is PUBLIC_URL right?")
        return Verified(found)

    def identify(self, request: Request, parsed: Parsed) -> Identity:
        """Find the type, as `message.delivered`, and as id the token that retries share or `SID.status`."""
        token = InHeader(_IDEMPOTENCY).find(request, parsed)
        body = parsed()
        if not isinstance(body, Mapping):
            return Identity(None, token)
        sid, status, subject = _subject(body)
        kind = as_text(body.get("EventType")) or (f"{subject}.{status}" if status else None)
        # One message has a callback for each status, and all of them its one SID.
        own = f"{sid}.{status}" if sid and status else sid
        return Identity(kind, token or own)

    def content_type(self, body: bytes) -> bytes:
        """Tell JSON from a form."""
        return b"application/json" if looks_like_json(body) else _FORM

    def target(self, url: str, body: bytes) -> str:
        """Append the digest of a JSON body to the query."""
        if not looks_like_json(body):
            return url
        return with_parameter(url, _DIGEST, hashlib.sha256(body).hexdigest().encode())

    def write(self, outgoing: Outgoing) -> Headers:
        """Sign; for JSON, `url` must be what `target` gave."""
        fields = [] if looks_like_json(outgoing.body) else sorted_fields(outgoing.body)
        signature = self.keys[0].write([outgoing.url.encode(), *fields])
        return ((_IDEMPOTENCY, outgoing.event_id.encode()), (_HEADER, signature))


def _signed_fields(request: Request) -> list[bytes]:
    digest = _digest_in(request.query)
    if digest is not None:
        body = hashlib.sha256(request.body).hexdigest().encode()
        if not hmac.compare_digest(body, digest.lower()):
            raise SignatureError("mismatch", f"the body is not that of {_DIGEST}")
        return []
    if not request.body:
        return []
    kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise SignatureError("malformed", f"neither a form nor {_DIGEST} in the query")
    return sorted_fields(request.body)


def _digest_in(query: bytes) -> bytes | None:
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == _DIGEST.encode():
            return value
    return None


def _spellings(url: str) -> list[str]:
    """Write the URL without a user, once without a port and once with it, or else the usual one."""
    parts = _AUTHORITY.fullmatch(url)
    if parts is None:
        raise SignatureError("malformed", "no URL to go by")
    scheme, host, rest = parts["scheme"], parts["host"], parts["rest"] or ""
    port = parts["port"] or (":443" if scheme.lower() == "https" else ":80")
    return [f"{scheme}://{host}{rest}", f"{scheme}://{host}{port}{rest}"]


def _subject(body: Mapping[object, object]) -> tuple[str | None, str | None, str]:
    sid: str | None = None
    for sid_field, status_fields, subject in _SUBJECTS:
        found = as_text(body.get(sid_field))
        status = next((text for name in status_fields if (text := as_text(body.get(name)))), None)
        if found and status:
            return found, status, subject
        sid = sid or found
    return sid, None, ""


def twilio_scheme(secrets: Sequence[bytes], *, algorithm: str) -> Twilio:
    """Build the scheme for auth tokens (sha1) or shared keys (sha256)."""
    return Twilio(
        name="twilio",
        mac_headers=frozenset({_HEADER}),
        needs_url=True,
        keys=tuple(MacKey(secret, algorithm=algorithm, encoding=BASE64) for secret in secrets),
    )
