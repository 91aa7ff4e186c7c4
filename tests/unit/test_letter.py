"""Letters: what an event looks like in a mailbox, and that nobody else writes in its headers."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.egress.attempt_input import AttemptInput
from relay.egress.email.message import write_letter
from relay.model import Headers, Rendered
from tests.unit.letters import email_to, parcel_of

HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Relay-Event-Id",
    "Relay-Delivery-Id",
    "Relay-Source",
    "Relay-Attempt",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
}


def read(attempt_input: AttemptInput) -> EmailMessage:
    """What the mailbox shows."""
    raw = write_letter(email_to(25), attempt_input, now=datetime(2026, 1, 2, tzinfo=UTC))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage) -> str:
    """Its text."""
    body = message.get_body()
    assert isinstance(body, EmailMessage)
    return str(body.get_content()).replace("\r\n", "\n")


def rendered(*headers: tuple[bytes, bytes], body: bytes = b"Hello.") -> Rendered:
    """What a transform made."""
    return Rendered(headers=headers, body=body)


def test_without_a_transform_it_is_a_summary_and_the_body() -> None:
    """Source, type and the ids by which the rest can be found, and the body below."""
    message = read(parcel_of())
    assert message["Subject"] == "stripe: invoice.paid"
    assert message["From"] == "Relay <relay@example.com>"
    assert message["To"] == "ops@example.com"
    assert message["Message-ID"] == "<dlv_1@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    text = text_of(message)
    for part in ("stripe", "invoice.paid", "evt_1", "evt_stripe_1", "dlv_1", "2023-11-14T22:13:20+00:00"):
        assert part in text
    assert text.endswith('\n{"id": 7}\n')


def test_a_transform_is_the_letter() -> None:
    """Its subject and its text, and nothing of ours."""
    message = read(
        parcel_of(
            rendered=rendered(
                (b"content-type", b"text/plain; charset=utf-8"), (b"subject", "Zahlung é 🎉".encode())
            )
        )
    )
    assert message["Subject"] == "Zahlung é 🎉"
    assert text_of(message) == "Hello.\n"


def test_a_transform_may_write_html() -> None:
    """The content type of the text is that of the letter."""
    made = rendered((b"content-type", b"text/html; charset=utf-8"), body=b"<p>Hello</p>")
    message = read(parcel_of(rendered=made))
    assert message.get_content_type() == "text/html"


def test_a_senders_subject_is_not_the_letters() -> None:
    """A header by that name that came with the webhook is none of the transform's."""
    theirs: Headers = ((b"subject", b"Free money"),)
    for made in (None, rendered(*theirs)):
        assert read(parcel_of(headers=theirs, rendered=made))["Subject"] == "stripe: invoice.paid"


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"nul \x00", b"\x1b[31m", "½".encode("latin-1")])
def test_what_is_no_text_is_attached(body: bytes) -> None:
    """It arrives byte for byte, by the type that the sender gave it."""
    message = read(parcel_of(body=body, headers=((b"content-type", b"image/png"),)))
    (attached,) = message.iter_attachments()
    assert attached.get_content_type() == "image/png"
    assert attached.get_content() == body
    assert "invoice.paid" in text_of(message)


@pytest.mark.parametrize("kind", [b"multipart/mixed", b"message/rfc822", b"x\r\nBcc: evil", b"", b"\xff"])
def test_a_strange_type_is_attached_as_bytes(kind: bytes) -> None:
    """What no attachment can be is told as bytes."""
    message = read(parcel_of(body=b"\xff", headers=((b"content-type", kind),)))
    (attached,) = message.iter_attachments()
    assert attached.get_content_type() == "application/octet-stream"
    assert message["Bcc"] is None


def test_a_long_text_is_whole() -> None:
    """Megabytes of text arrive as they are."""
    body = ("é" * 200 + "\n").encode() * 5_000
    made = rendered((b"content-type", b"text/plain"), body=body)
    assert text_of(read(parcel_of(rendered=made))).encode() == body


hostile = st.text(
    alphabet=st.characters(codec="utf-8") | st.sampled_from("\r\n\x85\u2028\u2029:\0\x0b\x0c"), max_size=60
)


@settings(max_examples=30)
@given(subject=hostile, kind=hostile, provider_id=hostile, key=hostile)
def test_nothing_that_came_writes_a_header(subject: str, kind: str, provider_id: str, key: str) -> None:
    """Whatever a sender or a transform puts in, the headers are ours, each once and in one line."""
    evil = f"{subject}\r\nBcc: evil@example.com\r\n\r\nbody"
    made = rendered((b"subject", evil.encode()), (b"content-type", kind.encode()))
    for attempt_input in (
        parcel_of(type=kind, provider_id=provider_id, key=key or "k"),
        parcel_of(type=f"{kind}\nBcc: evil", provider_id=provider_id, rendered=made),
    ):
        raw = write_letter(email_to(25), attempt_input, now=datetime(2026, 1, 2, tzinfo=UTC))
        head = email.message_from_bytes(raw, policy=email.policy.default)
        assert {name for name, _ in head.items()} <= HEADERS
        assert len({name for name, _ in head.items()}) == len(head.items())
        assert head["To"] == "ops@example.com"
