"""What others wrote, as it stands in logs and listings."""

from __future__ import annotations

from relay.egress.words import escape


def test_what_a_server_said_is_one_line_that_any_reader_takes() -> None:
    """No line break, no colour, no byte that was no UTF-8 (aiosmtplib makes a lone surrogate of it)."""
    said = b"no\n\x1b[31m\xff".decode("utf-8", "surrogateescape")
    assert escape(said) == r"no\n\x1b[31m\udcff"
