"""The URL that is asked for: holes filled, each value encoded whole, and the sender's query behind it."""

from __future__ import annotations

import json

import pytest

from relay.egress import Egress
from relay.egress.http.url import fill, with_query
from relay.errors import ExpressionError
from relay.expressions import View, compile_template
from tests.unit.egress_helpers import api, attempt_input, destination, rules


def filled(template: str, value: object) -> str:
    """The URL made from a body whose `v` is this."""
    view = View(
        source="in",
        event_id="evt_1",
        received_at=0.0,
        method="POST",
        query=b"",
        headers=(),
        body=json.dumps({"v": value}).encode(),
        placeholders={},
        parse_limit=1024,
    )
    return fill(compile_template(template), lambda: view)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("plain-1._~", "plain-1._~"),
        ("a/b", "a%2Fb"),
        ("..%2f", "..%252f"),
        ("../admin", "..%2Fadmin"),
        ("%00", "%2500"),
        ("\x00\r\n", "%00%0D%0A"),
        ("a?b#c&d=e", "a%3Fb%23c%26d%3De"),
        ("a\\b;c@d:e", "a%5Cb%3Bc%40d%3Ae"),
        ("Zoë 日", "Zo%C3%AB%20%E6%97%A5"),
        ("{{ 1 }}", "%7B%7B%201%20%7D%7D"),
        (7, "7"),
        (True, "true"),
        ([1, "/"], "%5B1%2C%22%2F%22%5D"),
        ("...", "..."),
    ],
)
def test_a_value_is_one_segment_and_one_field(value: object, encoded: str) -> None:
    """In path and query alike a value is percent-encoded whole, so that it adds nothing to either."""
    assert filled("https://h/a/{{ body.v }}/b", value) == f"https://h/a/{encoded}/b"
    assert filled("https://h/a?x={{ body.v }}&y=/", value) == f"https://h/a?x={encoded}&y=/"
    assert filled("https://h/a/x-{{ body.v }}", value) == f"https://h/a/x-{encoded}"


@pytest.mark.parametrize("value", [".", "..", "", None])
@pytest.mark.parametrize(
    "template",
    [
        "https://h/{{ body.v }}",
        "https://h/a/{{ body.v }}/b",
        "https://h/{{ body.v }}?x=1",
        "/a/{{ body.v }}{{ '' }}/",
    ],
)
def test_a_segment_that_leads_elsewhere_is_refused(template: str, value: object) -> None:
    """A segment that would go up, stay or vanish kills the delivery instead of calling another address."""
    with pytest.raises(ExpressionError, match="url: a segment of the path"):
        filled(template, value)


def test_dots_are_refused_however_they_come_together() -> None:
    """What is checked is the whole segment, of literal text and holes."""
    with pytest.raises(ExpressionError, match=r"is `\.\.`"):
        filled("https://h/a/.{{ body.v }}", ".")
    assert filled("https://h/../x/{{ body.v }}", "1") == "https://h/../x/1"
    assert filled("https://h/x?y={{ body.v }}", "..") == "https://h/x?y=.."
    assert filled("https://h/x?y={{ body.v }}", None) == "https://h/x?y="


@pytest.mark.parametrize(
    ("url", "query", "expected"),
    [
        ("https://h/a", b"", "https://h/a"),
        ("https://h/a", b"x=1&x=%20+", "https://h/a?x=1&x=%20+"),
        ("https://h/a?k=v", b"x=1", "https://h/a?k=v&x=1"),
        ("https://h/a?", b"x=1", "https://h/a?x=1"),
        ("https://h/a", b"x=a/b?c", "https://h/a?x=a/b?c"),
        ("https://h/a", b"x=#y z\xff\r\n", "https://h/a?x=%23y%20z%FF%0D%0A"),
    ],
)
def test_the_senders_query_is_appended_as_it_came(url: str, query: bytes, expected: str) -> None:
    """Nothing of it is decoded; what no URL may hold is encoded, so that it ends nothing."""
    assert with_query(url, query) == expected


async def test_a_url_that_an_event_makes_too_long_is_the_events_fault() -> None:
    """It is no attempt at the destination, which a sender could have its breaker open for."""
    async with Egress(rules()) as egress:
        with pytest.raises(ExpressionError, match="too long"):
            await egress.send(
                attempt_input(query=b"q=" + b"x" * 70_000), destination(api("http://h/", query=True))
            )
