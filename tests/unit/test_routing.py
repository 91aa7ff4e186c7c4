"""Routing: which routes match, and what a transform makes of an event."""

from __future__ import annotations

import hashlib
import json

import pytest

from relay.errors import ExpressionError
from relay.expressions import View, compile_program, compile_template
from relay.model import Headers
from relay.routing import Fate, Match, Order, Route, Transform, match, trials

HEADERS = (
    (b"content-type", b"application/json"),
    (b"content-encoding", b"identity"),
    (b"x-hub-signature-256", b"sha256=00"),
    (b"x-kept", b"1"),
    (b"x-kept", b"2"),
    (b"x-replaced", b"old"),
)
MAC = frozenset({b"x-hub-signature-256"})


def view(body: object) -> View:
    """Make the view of one event."""
    return View(
        source="s",
        event_id="evt_1",
        received_at=0.0,
        method="POST",
        query=b"",
        headers=HEADERS,
        body=json.dumps(body, separators=(",", ":")).encode(),
        placeholders={},
        parse_limit=1 << 20,
    )


def route(name: str, *when: str, stop: bool = False) -> Route:
    """Make a route to one destination."""
    return Route(
        name=name, source="s", when=tuple(compile_program(text) for text in when), to=("d",), stop=stop
    )


def names(found: Match) -> list[str]:
    """Name the routes that matched."""
    return [one.name for one in found.routes]


def test_every_route_that_matches_gets_the_event() -> None:
    """All routes are tried; one without `when` always matches, a list of them must all hold."""
    routes = [route("all"), route("yes", "body.n == 1"), route("no", "body.n == 1", "body.n == 2")]
    found = match(routes, view({"n": 1}))
    assert names(found) == ["all", "yes"]
    assert found.errors == ()


def test_stop_ends_the_search_only_where_it_matches() -> None:
    """A route with `stop` that does not match stops nothing."""
    routes = [route("a", "false", stop=True), route("b", stop=True), route("c")]
    assert names(match(routes, view({}))) == ["b"]


@pytest.mark.parametrize("when", ["1", '"true"', "null", "body", "[true]"])
def test_what_is_not_true_is_no_match(when: str) -> None:
    """Only the bool true matches: nothing is truthy."""
    assert match([route("a", when)], view({"n": 1})) == Match((), ())


def test_a_when_that_fails_is_no_match_and_an_error() -> None:
    """A failure is named with its route, stops nothing and the other routes go on."""
    found = match([route("a", "body.q == 1", stop=True), route("b")], view({"n": 1}))
    assert names(found) == ["b"]
    assert found.errors == (("a", "missing: body.q"),)


def test_a_false_when_keeps_a_later_one_from_failing() -> None:
    """The expressions of a list are asked in their order, up to the first that is not true."""
    assert match([route("a", "false", "body.q == 1")], view({})) == Match((), ())


def test_a_trial_says_which_expression_decided() -> None:
    """Each route has its fate, with the expression of its list that decided, and what it gave."""
    routes = [
        route("no", "true", "body.n", "body.q == 1"),
        route("fails", "body.q == 1"),
        route("yes", "body.n == 1", stop=True),
        route("behind"),
        route("last"),
    ]
    found = [
        (one.route.name, one.fate, one.when, one.given, one.error) for one in trials(routes, view({"n": 1}))
    ]
    assert found == [
        ("no", Fate.UNMATCHED, 1, 1, None),
        ("fails", Fate.FAILED, 0, None, "missing: body.q"),
        ("yes", Fate.MATCHED, None, None, None),
        ("behind", Fate.HIDDEN, None, None, None),
        ("last", Fate.HIDDEN, None, None, None),
    ]


@pytest.mark.parametrize(
    ("key", "lane"),
    [
        ("body.id", "cus_1"),
        ("body.n", "1"),
        ("body.list", '[1,"a"]'),
        ("body.none", None),
        ('body.id + ""', "cus_1"),
        ("body.long", "sha256:" + hashlib.sha256(b"x" * 201).hexdigest()),
    ],
)
def test_an_order_key_names_a_lane(key: str, lane: str | None) -> None:
    """Text is the lane's name as it is, all else its JSON, a long one its hash; null is in no lane."""
    body = {"id": "cus_1", "n": 1, "list": [1, "a"], "none": None, "long": "x" * 201}
    assert Order(key=compile_program(key), hold=False).lane(view(body)) == lane


def test_an_order_key_that_fails_raises() -> None:
    """Who asks decides what follows, and has the reason."""
    with pytest.raises(ExpressionError, match=r"missing: body\.q"):
        Order(key=compile_program("body.q"), hold=False).lane(view({}))


@pytest.mark.parametrize("key", ["subject", "text"])
def test_a_subject_is_one_line_in_place_of_what_came(key: str) -> None:
    """An email's subject stands among the headers; a sender's line break adds no header to it."""
    transform = Transform(
        subject=compile_template("Push: {{ body.t }}"),
        text=compile_template("hello") if key == "text" else None,
    )
    headers, body = render(transform, {"t": "first\r\nBcc: evil@example.com\n\x00"})
    assert [value for name, value in headers if name == b"subject"] == [b"Push: first Bcc: evil@example.com"]
    assert (body == b"hello") is (key == "text")


def render(transform: Transform, body: object = None) -> tuple[Headers, bytes]:
    """Render a transform of one event."""
    rendered = transform.render(view({"t": "é", "n": 1} if body is None else body), HEADERS, MAC)
    return rendered.headers, rendered.body


def test_a_json_transform() -> None:
    """JSON is compact, in the order of the file; headers are replaced, added, and MACs are dropped."""
    headers, body = render(
        Transform(
            json=compile_template({"text": "T: {{ body.t }}", "a": "{{ body.n }}"}),
            headers=(("X-Replaced", compile_template("{{ body.n }}")), ("X-New", compile_template("é"))),
        )
    )
    assert body == '{"text":"T: é","a":1}'.encode()
    assert headers == (
        (b"x-kept", b"1"),
        (b"x-kept", b"2"),
        (b"content-type", b"application/json"),
        (b"x-replaced", b"1"),
        (b"x-new", "é".encode()),
    )


@pytest.mark.parametrize("content_type", [None, "text/csv"])
def test_a_text_transform(content_type: str | None) -> None:
    """Text is sent as UTF-8, with the content type that the route says."""
    headers, body = render(Transform(text=compile_template("{{ body.t }};"), content_type=content_type))
    assert body == "é;".encode()
    assert (b"content-type", (content_type or "text/plain; charset=utf-8").encode()) in headers


def test_headers_alone_leave_the_body_as_it_came() -> None:
    """Without json and text, bytes, content type and encoding stay."""
    headers, body = render(Transform(headers=(("X-New", compile_template("1")),)))
    assert body == b'{"t":"\\u00e9","n":1}'
    assert headers == (*(one for one in HEADERS if one[0] not in MAC), (b"x-new", b"1"))


def test_a_content_type_among_the_headers_wins() -> None:
    """There is one content type, and the written header decides it."""
    transform = Transform(
        json=compile_template({}), headers=(("Content-Type", compile_template("application/ld+json")),)
    )
    headers, _ = render(transform)
    assert [value for name, value in headers if name == b"content-type"] == [b"application/ld+json"]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", "\x7f", "\x1b[31m"])
def test_a_header_takes_no_control_characters(value: str) -> None:
    """A sender cannot add a header through a hole: the transform fails, and says so."""
    transform = Transform(headers=(("X-T", compile_template("v {{ body.v }} v")),))
    with pytest.raises(ExpressionError, match=r"header X-T: .*control character"):
        render(transform, {"v": value})


def test_a_transform_that_fails_says_why() -> None:
    """The reason of a dead delivery is the expression's own."""
    with pytest.raises(ExpressionError, match=r"missing: body\.q"):
        render(Transform(json=compile_template({"a": "{{ body.q }}"})))
