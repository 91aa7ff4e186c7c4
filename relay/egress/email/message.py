"""An attempt as an email: headers that nothing can be injected into, a summary, and the body."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from relay.config.model import Email
from relay.egress.attempt_input import AttemptInput
from relay.model import Headers

_LONGEST_SUBJECT = 200
_PLAIN_LIMIT = 64 * 1024
# What ends a line for some reader or other, and what a terminal would obey; a space stands in its place.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Text has none of these; what has is attached as it is.
_BINARY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]")
_MEDIA_TYPE = re.compile(r"([a-z0-9!#$&^_.+-]{1,64})/([a-z0-9!#$&^_.+-]{1,64})")


def write_letter(email: Email, attempt_input: AttemptInput, *, now: datetime) -> bytes:
    """The message as it is sent, its lines ended by CRLF.

    A transform's subject and text are the letter; without one it is a summary of the event, and the
    body below it where that is text, else attached. `Message-ID` comes from the delivery's key, so every
    attempt at one delivery carries the same, and mailboxes that know it show one letter.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = email.sender
    message["To"] = ", ".join(email.to)
    message["Subject"] = _subject(attempt_input)
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = _message_id(email, attempt_input)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice comes back
    message["Relay-Event-Id"] = attempt_input.event.id
    message["Relay-Delivery-Id"] = attempt_input.delivery.id
    message["Relay-Source"] = attempt_input.event.source
    message["Relay-Attempt"] = str(attempt_input.delivery.attempts)
    _fill(message, attempt_input)
    return message.as_bytes()


def _subject(attempt_input: AttemptInput) -> str:
    own = None if attempt_input.rendered is None else _last(attempt_input.rendered.headers, b"subject")
    if own is not None and (b"subject", own) not in attempt_input.event.headers:
        return _line(own.decode("utf-8", "replace"))
    about = f": {attempt_input.event.type}" if attempt_input.event.type else ""
    return _line(f"{attempt_input.event.source}{about}")


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()[:_LONGEST_SUBJECT]


def _message_id(email: Email, attempt_input: AttemptInput) -> str:
    domain = parseaddr(email.sender)[1].rpartition("@")[2]
    left, right = (_UNUSUAL.sub("-", part) for part in (attempt_input.delivery.key, domain))
    return f"<{left}@{right or 'relay.invalid'}>"


def _fill(message: EmailMessage, attempt_input: AttemptInput) -> None:
    body = attempt_input.body
    headers = (
        attempt_input.event.headers if attempt_input.rendered is None else attempt_input.rendered.headers
    )
    main, sub = _media_type(headers)
    text = _as_text(body)
    if text is None:
        message.set_content(_summary(attempt_input))
        message.add_attachment(body, maintype=main, subtype=sub, filename="body")
    elif attempt_input.rendered is None:
        _set_text(message, f"{_summary(attempt_input)}\n{text}")
    else:
        _set_text(message, text, subtype=sub if main == "text" else "plain")


def _set_text(message: EmailMessage, text: str, subtype: str = "plain") -> None:
    if len(text) <= _PLAIN_LIMIT:
        message.set_content(text, subtype=subtype)
        return
    # Quoted-printable is readable, but takes Python a second for some megabytes. And the library makes an
    # object of each line: of a text with short ones, twenty times its size.
    message.set_content("", subtype=subtype, cte="base64")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").replace("\n", "\r\n")
    message.set_payload(base64.encodebytes(f"{lines}\r\n".encode()).decode())


def _as_text(body: bytes) -> str | None:
    """The body where it is text in UTF-8."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _BINARY.search(text) else text


def _media_type(headers: Headers) -> Sequence[str]:
    """Main and sub type of the body; what no attachment may be is told as bytes."""
    named = (_last(headers, b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
    found = _MEDIA_TYPE.fullmatch(named)
    if found is None or found[1] in {"multipart", "message"}:
        return ("application", "octet-stream")
    return found.groups()


def _last(headers: Headers, name: bytes) -> bytes | None:
    """The last of the values, which is the transform's own where there is one."""
    return next((value for key, value in reversed(headers) if key == name), None)


def _summary(attempt_input: AttemptInput) -> str:
    event, delivery = attempt_input.event, attempt_input.delivery
    received = datetime.fromtimestamp(event.received_at, UTC).isoformat(timespec="seconds")
    rows = (
        ("Source", event.source),
        ("Type", event.type),
        ("Event", event.id),
        ("Its provider's id", event.provider_id),
        ("Delivery", f"{delivery.id}, attempt {delivery.attempts}"),
        ("Received", received),
    )
    return "".join(f"{name}: {_line(value)}\n" for name, value in rows if value)
