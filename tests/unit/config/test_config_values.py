"""Durations, sizes, statuses, paths and addresses as the file writes them."""

from __future__ import annotations

import pytest

from relay.config import PathPattern
from relay.config.shape.addresses import header_value, media_type, network, url
from relay.config.shape.scalars import Wrong, duration, size, statuses
from relay.config.yaml.nodes import Interpolated


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5s", 5.0), ("3m", 180.0), ("6h", 21600.0), ("3d", 259200.0), ("1.5s", 1.5)],
)
def test_duration(text: str, seconds: float) -> None:
    """A duration is a number and a unit, read as seconds."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["5", 5, "5 s", "-5s", "s", "1e9s", "\u0663s", True, None, "5S", [1], "99999d"]
)
def test_no_duration(value: object) -> None:
    """Whatever has no unit, or is longer than ten years, is no duration."""
    with pytest.raises(Wrong, match="expected a duration"):
        duration(value)


def test_number_suggests_seconds() -> None:
    """A bare number gets the hint that seconds were meant."""
    with pytest.raises(Wrong) as raised:
        duration(5)
    assert raised.value.nearest == "5s"


@pytest.mark.parametrize(
    ("text", "count"), [("64KiB", 65536), ("1MiB", 2**20), ("20GiB", 20 * 2**30), (512, 512)]
)
def test_size(text: object, count: int) -> None:
    """A size is a number of bytes, with a binary unit or without one."""
    assert size(text) == count


@pytest.mark.parametrize(
    ("text", "hint"), [("512KB", "512KiB"), ("1 MiB", "1MiB"), ("1mib", "1MiB"), ("x", None)]
)
def test_no_size(text: str, hint: str | None) -> None:
    """Another unit is refused, with the nearest one named."""
    with pytest.raises(Wrong) as raised:
        size(text)
    assert raised.value.nearest == hint


@pytest.mark.parametrize(
    ("value", "some", "count"),
    [("2xx", 204, 100), ("200-299", 299, 100), (204, 204, 1), ([204, "3xx"], 302, 101), ("404", 404, 1)],
)
def test_statuses(value: object, some: int, count: int) -> None:
    """Statuses are written as one, a class, a range, or a list of these."""
    assert some in statuses(value)
    assert len(statuses(value)) == count


@pytest.mark.parametrize("value", ["4x", "6xx", 99, 600, "299-200", "ok", None, True, ["2xx", "x"]])
def test_no_statuses(value: object) -> None:
    """What is no status from 100 to 599 is refused."""
    with pytest.raises(Wrong, match="expected"):
        statuses(value)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a?b=c",
        "http://127.0.0.1:9000/x",
        "http://[::1]:9000/",
        "http://localhost",
        "https://a_b.internal/",
        "https://bücher.example/",
        "https://1password.com/",
        "HTTPS://EXAMPLE.COM",
    ],
)
def test_url(text: str) -> None:
    """An http or https URL with a name or a plain address is taken as it is."""
    assert url(text) == text


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "0x7f000001",
    ],
)
def test_url_with_a_disguised_address(host: str) -> None:
    """An address in other than its plain spelling is refused, and the plain one named."""
    with pytest.raises(Wrong, match="plain spelling") as raised:
        url(f"http://{host}/")
    assert raised.value.nearest == "127.0.0.1"


@pytest.mark.parametrize("host", ["1.2.3.4.5", "256.1.1.1", "a.1", "0x", "09", "1..1"])
def test_url_with_no_address_at_all(host: str) -> None:
    """A host whose last label is a number must be an address."""
    with pytest.raises(Wrong, match="plain spelling"):
        url(f"http://{host}/")


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.com/",
        "example.com",
        "//example.com/",
        "https:example.com",
        "https://",
        "https://user:pass@example.com/",
        "https://exa mple.com/",
        "https://example.com/a#b",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[::g]/",
        "https://a..b/",
        "https://%31.example/",
        "https://example.com\\@evil/",
        "https://example.com/{{ body.x }}",
        "https://example.com/\n",
    ],
)
def test_no_url(text: str) -> None:
    """Anything that two readers could take for two things, or that is not sent, is refused."""
    with pytest.raises(Wrong):
        url(text)


def test_an_interpolated_url_is_not_shown() -> None:
    """What came from a variable stays out of the message, also where the URL cannot be split."""
    for value in ("htp://sekrit/", "http://sekrit.0x7f/", "http://[sekrit/", "http://sekrit:port/"):
        with pytest.raises(Wrong) as raised:
            url(Interpolated(value, written="${URL}"))
        assert "sekrit" not in f"{raised.value} {raised.value.nearest}"


def test_network() -> None:
    """A network has no host bits; the one that was meant is named."""
    assert str(network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(network("::1")) == "::1/128"
    with pytest.raises(Wrong) as raised:
        network("10.1.2.3/8")
    assert raised.value.nearest == "10.0.0.0/8"


@pytest.mark.parametrize("value", ["a\r\nb", "a\0", " a", 2, None, "\x7f"])
def test_no_header_value(value: object) -> None:
    """A header's text cannot end the header."""
    with pytest.raises(Wrong):
        header_value(value)


def test_media_type() -> None:
    """A content type has a type, a subtype and perhaps parameters."""
    assert media_type("text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    for value in ("text", "text/plain\r\nx: y", 1):
        with pytest.raises(Wrong):
            media_type(value)


def test_path_pattern_matches_segments() -> None:
    """A placeholder stands for one whole segment."""
    pattern = PathPattern("/plants/{site}/events")
    assert pattern.match("/plants/berlin/events") == {"site": "berlin"}
    assert pattern.match("/plants/a b:é/events") == {"site": "a b:é"}
    assert pattern.placeholders == ("site",)


@pytest.mark.parametrize(
    "path",
    [
        "/plants//events",
        "/plants/../events",
        "/plants/./events",
        "/plants/a/b/events",
        "/plants/a\0/events",
        "/plants/a\nb/events",
        "/plants/berlin/events/",
        "plants/berlin/events",
        "/plants/berlin",
        "/Plants/berlin/events",
        "",
    ],
)
def test_path_pattern_refuses(path: str) -> None:
    """No empty, dotted or unprintable segment, and no other number of them."""
    assert PathPattern("/plants/{site}/events").match(path) is None


def test_path_without_placeholders() -> None:
    """A plain path matches itself and has nothing to tell."""
    assert PathPattern("/github").match("/github") == {}
    assert PathPattern("/github").match("/githubs") is None


@pytest.mark.parametrize(
    "template", ["", "a", "/", "/a/", "/a//b", "/..", "/x{y}", "/{a}/{a}", "/{}", "/a b", "/%2f"]
)
def test_no_path_pattern(template: str) -> None:
    """A template that could match nothing, or two things, is refused."""
    with pytest.raises(ValueError, match="path"):
        PathPattern(template)


def test_overlap() -> None:
    """Two patterns overlap if some path matches both."""
    one = PathPattern("/plants/{site}/events")
    assert one.overlaps(PathPattern("/plants/berlin/events"))
    assert one.overlaps(PathPattern("/{a}/{b}/{c}"))
    assert not one.overlaps(PathPattern("/plants/berlin"))
    assert not one.overlaps(PathPattern("/plants/berlin/alarms"))
