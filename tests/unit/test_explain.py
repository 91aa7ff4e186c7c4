"""What a configuration does with a stored event, and where that is not what was done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay import config
from relay.config import Configuration
from relay.explain import compare, explain, order_of
from relay.model import Delivery, Event
from relay.routing import Fate

FILE = """
sources:
  in: {verify: none, parse: 1KiB, path: "/in/{site}", dedup: {key: body.id, window: 1h}}
  other: {verify: none}
destinations:
  a: {url: "https://a.example.com/{{ body.id }}"}
  b: {url: "https://b.example.com/", order: {key: body.customer, on_dead: hold}}
  c: {url: "https://c.example.com/"}
routes:
  - {name: first, source: in, when: ['body.n > 0', 'path.site == "berlin"'], to: [a, b]}
  - {name: fails, source: in, when: body.nothing == 1, to: a}
  - {name: last, source: in, when: body.n == 1, to: c, stop: true, transform: {text: "{{ body.title }}"}}
  - {name: hidden, source: in, to: a}
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The file above."""
    path = tmp_path / "relay.yaml"
    path.write_text(FILE)
    return config.load(path, {})


def an_event(body: object, *, source: str = "in", reason: str | None = None) -> Event:
    """A stored event with this body."""
    return Event(
        id="evt_1",
        source=source,
        type=None,
        provider_id=None,
        received_at=1.0,
        method="POST",
        path="/in/berlin",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=json.dumps(body).encode(),
        remote=None,
        reason=reason,
    )


def sent(*pairs: tuple[str, str]) -> list[Delivery]:
    """Deliveries by these routes to these destinations."""
    return [
        Delivery(
            id=f"dlv_{number}",
            event_id="evt_1",
            source="in",
            route=route,
            destination=destination,
            key="k",
            created_at=1.0,
            age_from=1.0,
        )
        for number, (route, destination) in enumerate(pairs)
    ]


FULL = {"n": 1, "id": "x", "customer": "cus_1", "title": "t"}


def test_each_route_is_reported_with_the_reason(configuration: Configuration) -> None:
    """Which expression of the list was not true and what it saw; the error; what `stop` hides."""
    found = explain(an_event(FULL), configuration)
    assert found is not None
    fates = {one.trial.route.name: one.trial.fate for one in found.routes}
    assert fates == {
        "first": Fate.MATCHED,
        "fails": Fate.FAILED,
        "last": Fate.MATCHED,
        "hidden": Fate.HIDDEN,
    }
    assert [(one.route, one.destination, one.transform) for one in found.going] == [
        ("first", "a", False),
        ("first", "b", False),
        ("last", "c", True),
    ]
    none = explain(an_event({**FULL, "n": 0}), configuration)
    assert none is not None
    first = none.routes[0]
    assert (first.trial.fate, first.trial.when, first.inputs) == (Fate.UNMATCHED, 0, (("body.n", 0),))


def test_keys_and_problems_are_told(configuration: Configuration) -> None:
    """The dedup key, the order key, and what of a delivery cannot be rendered, each with its error."""
    found = explain(an_event({"n": 1, "customer": "cus_1"}), configuration)
    assert found is not None
    assert found.dedup is not None
    assert found.dedup.error == "missing: body.id"
    to_a, to_b, to_c = found.going
    assert to_a.problem == "missing: body.id"
    assert to_b.lane is not None
    assert (to_b.lane.text, to_b.hold, to_b.problem) == ("cus_1", True, None)
    assert to_c.problem == "missing: body.title"


def test_a_body_that_is_not_parsed_is_told(configuration: Configuration) -> None:
    """The reader learns why every expression saw null."""
    found = explain(an_event({**FULL, "pad": "x" * 2000}), configuration)
    assert found is not None
    assert found.unparsed == "too_large"


def test_a_source_that_left_the_file_has_nothing_to_explain(configuration: Configuration) -> None:
    """None says that the file knows no such source, where its deliveries would all be gone."""
    event = an_event(FULL, source="gone")
    assert explain(event, configuration) is None
    assert compare(event, sent(("r", "a")), configuration).removed == (("r", "a"),)


@pytest.mark.parametrize(
    ("went", "added", "removed"),
    [
        ((("first", "a"), ("first", "b"), ("last", "c")), (), ()),
        ((("renamed", "a"), ("first", "b"), ("last", "c")), (), ()),
        ((("first", "a"), ("first", "b")), (("last", "c"),), ()),
        ((("first", "a"), ("first", "b"), ("last", "c"), ("x", "d")), (), (("x", "d"),)),
        ((("first", "a"), ("x", "a"), ("first", "b"), ("last", "c")), (), (("x", "a"),)),
        ((("first", "a"), ("first", "a"), ("first", "b"), ("last", "c"), ("replay", "c")), (), ()),
    ],
    ids=["as it was", "route renamed", "new destination", "old destination", "twice", "replayed"],
)
def test_the_difference_is_by_destination(
    configuration: Configuration,
    went: tuple[tuple[str, str], ...],
    added: tuple[tuple[str, str], ...],
    removed: tuple[tuple[str, str], ...],
) -> None:
    """A renamed route is no difference, a replay none either; two routes to one destination are two."""
    found = compare(an_event(FULL), sent(*went), configuration)
    assert (found.added, found.removed) == (added, removed)
    assert [route for route, _ in found.failing] == ["fails"]


def test_what_was_kept_for_a_conflict_goes_nowhere_by_any_file(configuration: Configuration) -> None:
    """A conflict is decided by the dedup key, not by the routes."""
    assert compare(an_event(FULL, reason="conflict"), [], configuration).is_empty


def test_a_lane_for_what_no_route_sends(configuration: Configuration) -> None:
    """A replay by hand goes in the destination's own order; without one, in none."""
    assert order_of(an_event(FULL), "b", configuration) == ("cus_1", True)
    assert order_of(an_event({}), "b", configuration) == (None, False)
    assert order_of(an_event(FULL), "c", configuration) == (None, False)
