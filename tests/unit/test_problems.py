"""What is wrong now, of each kind: who it is about, since when, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.journal import DestinationStatus, NodeStatus, SourceStatus, Status
from relay.model import Standing
from relay.problems import Problem, Seen, problems

NOW = 1_800_000_000.0
HOUR = 3600.0

CONFIG = """\
sources:
  stripe: {verify: {scheme: stripe, secrets: whsec_0123456789abcdef}, silent_after: 1h}
  sms: {verify: {scheme: twilio, secrets: 0123456789abcdef}}
destinations:
  billing: {url: "https://billing.example.com"}
routes:
  - {source: stripe, to: billing}
  - {source: sms, to: billing}
"""

BILLING = DestinationStatus(
    name="billing",
    pending=0,
    in_flight=0,
    oldest_at=None,
    due_at=None,
    dead=0,
    delivered=7,
    last_error=None,
    last_error_at=None,
    standing=Standing(name="billing"),
    held_lanes=0,
)
STRIPE = SourceStatus(name="stripe", last_at=NOW - 60, accepted=7, rejected=0)
NODE = NodeStatus(
    id="n",
    started_at=NOW - 9 * HOUR,
    version="1",
    host="h",
    pid=1,
    alive=True,
    config=None,
    reload=None,
    config_error=None,
    change=0,
    answers=True,
    beat_at=None,
    wall_ahead=None,
)


def status(
    *, destination: DestinationStatus = BILLING, source: SourceStatus = STRIPE, node: NodeStatus = NODE
) -> Status:
    """A journal with one of each."""
    return Status(destinations=(destination,), sources=(source,), nodes=(node,), bytes=1)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., list[Problem]]:
    """Looks at a status by the file, with the public URL set unless a test says otherwise."""
    (tmp_path / "relay.yaml").write_text(CONFIG)
    configuration = config.load(tmp_path / "relay.yaml", {})

    def at(found: Status, **seen: Any) -> list[Problem]:
        known: dict[str, Any] = {"configuration": configuration, "public_url": "https://hooks.example.com"}
        return problems(Seen(status=found, **(known | seen)), now=NOW)

    return at


Look = Callable[..., list[Problem]]


def test_nothing_is_wrong_with_a_journal_that_is_well(look: Look) -> None:
    """With a hold that a 429 asked for, with what waits, and with requests that strangers were refused."""
    held = replace(BILLING, pending=3, standing=Standing(name="billing", held_until=NOW + 60))
    some = replace(STRIPE, rejected=19, rejected_at=NOW)
    assert look(status(destination=held, source=some)) == []


@pytest.mark.parametrize(
    ("changes", "kind", "count", "advice"),
    [
        (
            {"pending": 4, "last_error": "HTTP 503", "standing": Standing(name="billing", opened_at=NOW - 9)},
            "breaker_open",
            4,
            "`relay deliveries --destination billing",
        ),
        (
            {"standing": Standing(name="billing", paused_at=NOW - 9, pause_reason="moving")},
            "paused",
            0,
            "`relay resume billing`",
        ),
        ({"held_lanes": 2, "held_since": NOW - 9}, "held_lane", 2, "`relay retry ID`, or `relay cancel ID`"),
        ({"dead": 3, "dead_since": NOW - 9}, "dead", 3, "`relay retry --state dead --destination billing`"),
    ],
)
def test_a_destination_that_waits_for_somebody(
    look: Look, changes: dict[str, Any], kind: str, count: int, advice: str
) -> None:
    """It is named, with since when, how much waits or is dead, and the command."""
    (found,) = look(status(destination=replace(BILLING, **changes)))
    assert (found.kind, found.about, found.since, found.count) == (kind, "billing", NOW - 9, count)
    assert advice in found.advice
    assert changes.get("last_error") is None or "HTTP 503" in found.text


@pytest.mark.parametrize(
    ("changes", "since"),
    [
        ({"last_at": None, "accepted": 0, "rejected": 20, "rejected_at": NOW - 9 * HOUR}, None),
        ({"last_at": NOW - HOUR + 1, "rejected": 20, "rejected_at": NOW - 9}, NOW - HOUR + 1),
        ({"last_at": NOW - HOUR + 1, "rejected": 19, "rejected_at": NOW - 9}, "none"),
        ({"last_at": NOW - 60, "rejected": 900, "rejected_at": NOW - 9}, "none"),
    ],
    ids=["never accepted", "not since a while", "few", "accepted meanwhile"],
)
def test_a_source_that_refuses_all(look: Look, changes: dict[str, Any], since: object) -> None:
    """Once that is more than a few, and nothing valid came meanwhile."""
    found = look(status(source=replace(STRIPE, **changes)))
    failing = [one for one in found if one.kind == "signatures_failing"]
    assert [(one.about, one.since) for one in failing] == ([] if since == "none" else [("stripe", since)])
    assert all("`relay reload`" in one.advice for one in failing)


def test_a_source_that_is_silent(look: Look) -> None:
    """Since its last event, or since the service started; while nobody serves none can be heard."""
    quiet = replace(STRIPE, last_at=NOW - 2 * HOUR)
    (found,) = look(status(source=quiet))
    assert (found.kind, found.about, found.since) == ("source_silent", "stripe", NOW - 2 * HOUR)
    (found,) = look(replace(status(), sources=()))
    assert (found.kind, found.since) == ("source_silent", NODE.started_at)
    assert look(status(source=quiet, node=replace(NODE, alive=False))) == []
    assert look(status(source=quiet), configuration=None) == []


def test_nodes_whose_clocks_differ(look: Look) -> None:
    """Each with its host and by how much; a difference from the database's alone is no matter of theirs."""
    ahead, behind = (replace(NODE, host=host, wall_ahead=at) for host, at in (("a", 7.25), ("b", -0.5)))
    (found,) = look(replace(status(), nodes=(ahead, behind)))
    assert (found.kind, found.count) == ("clocks_differ", 2)
    assert "a (process 1) +7.2 s, b (process 1) -0.5 s" in found.text
    gone = replace(behind, alive=False)
    assert look(replace(status(), nodes=(ahead, gone))) == look(replace(status(), nodes=(ahead, NODE))) == []


def test_a_scheme_that_signs_the_url_needs_the_public_one(look: Look) -> None:
    """Unset, it may well be another one than the provider signs."""
    (found,) = look(status(), public_url=None)
    assert (found.kind, found.about) == ("public_url_unset", "sms")
    assert "RELAY_PUBLIC_URL" in found.advice


def test_what_keeps_all_events_out_comes_first(look: Look) -> None:
    """Before what is wrong with one destination."""
    dead = replace(BILLING, dead=1)
    found = look(status(destination=dead), refusal="process 7 locks it")
    assert [one.kind for one in found] == ["journal_away", "dead"]
    assert "process 7 locks it" in found[0].text
