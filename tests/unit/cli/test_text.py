"""What is shown to people is readable, and cannot command their terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.output.formats import clean, counted, first_line, iso, moment, relative, size, span


@pytest.mark.parametrize(
    ("wild", "tame"),
    [
        ("plain text, ünïcode 漢字", "plain text, ünïcode 漢字"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_written_out(wild: str, tame: str) -> None:
    """Escapes, line ends, C1 controls, directional marks and lone surrogates lose their power."""
    assert clean(wild) == tame


@given(st.text())
def test_whatever_comes_the_result_is_printable_and_encodable(text: str) -> None:
    """No text at all gets past: the result has only printable characters and is valid UTF-8."""
    assert clean(text).isprintable()
    clean(text).encode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.25, "250ms"),
        (3.04, "3.0s"),
        (42, "42s"),
        (60, "1m"),
        (252, "4m 12s"),
        (3600, "1h"),
        (7 * 3600 + 120, "7h 2m"),
        (90000, "1d 1h"),
        (86400, "1d"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, text: str) -> None:
    """Durations read as people say them."""
    assert span(seconds) == text


def test_times_are_utc_and_relative_to_now() -> None:
    """A time stands in UTC with a Z, and says how far away it is."""
    assert moment(0) == "1970-01-01 00:00:00Z"
    assert iso(0.25) == "1970-01-01T00:00:00.250Z"
    assert iso(None) is None
    assert relative(352, 100) == "in 4m 12s"
    assert relative(40, 100) == "1m ago"
    assert relative(100.4, 100) == "now"


def test_sizes_and_counts_have_their_units() -> None:
    """Bytes and numbers carry a unit or a noun in the right number."""
    assert [size(0), size(1023), size(1536), size(3 * 1024**3), size(5000 * 1024**3)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
        "5000.0 GiB",
    ]
    assert counted(1, "delivery", "deliveries") == "1 delivery"
    assert counted(1204, "delivery", "deliveries") == "1,204 deliveries"
    assert counted(2, "event") == "2 events"


def test_the_first_line_of_a_response_is_inert_and_short() -> None:
    """Empty lines are passed over, control characters written out, long lines cut."""
    assert first_line(b"\n  \nboom \x1b[2J\nmore") == r"boom \x1b[2J"
    assert first_line(b"\xff\xfe") == "\ufffd\ufffd"
    assert first_line(b"x" * 300) == "x" * 199 + "…"
    assert first_line(b"") == ""
