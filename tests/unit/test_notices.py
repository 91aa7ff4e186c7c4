"""Notices: what telemetry hands to whoever sends alerts, and about what it is silent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from relay.model import Attempt, Delivery, Event, Outcome
from relay.telemetry import Notice, Telemetry, span

EVENT = Event(
    id="evt_1",
    source="stripe",
    type="invoice.paid",
    provider_id=None,
    received_at=0.0,
    method="POST",
    path="/stripe",
    query=b"",
    headers=(),
    body=b"{}",
    remote=None,
)
DELIVERY = Delivery(
    id="dlv_1",
    event_id="evt_1",
    source="stripe",
    route="all",
    destination="billing",
    key="dlv_1",
    created_at=0.0,
    age_from=0.0,
    attempts=3,
)
ATTEMPT = Attempt(
    delivery_id="dlv_1",
    number=3,
    started_at=0.0,
    duration=0.1,
    outcome=Outcome.HTTP_STATUS,
    node="n",
    status=500,
    error="HTTP 500 token=canary",
)


@dataclass(frozen=True)
class Rescue:
    """A delivery that lost its owner."""

    dead: bool
    source: str = "stripe"
    delivery_id: str = "dlv_1"
    event_id: str = "evt_1"
    destination: str = "billing"
    owners_lost: int = 5


class Heard:
    """A telemetry, its lines, and the notices that somebody heard."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.telemetry = Telemetry.configure(stream=self.stream)
        self.notices: list[Notice] = []
        self.telemetry.listen(self.notices.append)

    def lines(self) -> list[dict[str, Any]]:
        """Every line; ends the writing."""
        self.telemetry.close()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A telemetry with one listener."""
    heard = Heard()
    yield heard
    heard.telemetry.close()


def reject(telemetry: Telemetry, source: str = "stripe") -> None:
    """Refuse a request."""
    telemetry.event_rejected(
        source=source, reason="signature_stale", status=401, remote="10.0.0.1", path="/stripe"
    )


KINDS: dict[str, tuple[str, Callable[[Telemetry], None]]] = {
    "dead": (
        "billing",
        lambda told: told.delivery_dead(
            event=EVENT, delivery=DELIVERY, attempt=ATTEMPT, reason="max_attempts"
        ),
    ),
    "lagging": (
        "billing",
        lambda told: told.destination_lagging(destination="billing", seconds=700.0, pending=4),
    ),
    "breaker_open": (
        "billing",
        lambda told: told.breaker_opened(destination="billing", failures=10, error="HTTP 503"),
    ),
    "paused": ("billing", lambda told: told.destination_paused(destination="billing", reason="HTTP 410")),
    "source_silent": ("stripe", lambda told: told.source_silent(source="stripe", seconds=30_000.0)),
    "route_error": ("all", lambda told: told.route_error(event=EVENT, route="all", error="no such key")),
    "rejected": ("stripe", reject),
    "config_rejected": ("", lambda told: told.config_rejected(path="relay.yaml", report="line 3: no")),
    "disk_low": ("", lambda told: told.disk_low(free=100 << 20)),
    "journal_pinned": (
        "",
        lambda told: told.journal_pinned(by="process 7 (psql)", does="is in a transaction", seconds=700.0),
    ),
    "journal_rewound": (
        "1a2b3c4d",
        lambda told: told.journal_rewound(loss="1a2b3c4d", events=1250, since=1_700_000_000.0),
    ),
    "ledger": ("", lambda told: told.ledger_audited(imbalance=2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_alert_has_its_notice(heard: Heard, kind: str) -> None:
    """A happening that operators may want to be told of raises one notice that says of what."""
    about, happen = KINDS[kind]
    happen(heard.telemetry)
    (notice,) = heard.notices
    assert (notice.kind, notice.about) == (kind, about)
    assert about in notice.text
    assert "canary" not in notice.text
    assert notice.text.isprintable()


def test_a_death_says_why_and_what_to_do(heard: Heard) -> None:
    """The text names source, destination, reason and error, and the command that shows the rest."""
    KINDS["dead"][1](heard.telemetry)
    (notice,) = heard.notices
    for part in ("stripe", "billing", "max_attempts", "HTTP 500", "relay show dlv_1"):
        assert part in notice.text


@pytest.mark.parametrize("reason", ["expired", "backlog_full"])
def test_a_delivery_that_died_without_an_attempt_is_told_like_any_other(heard: Heard, reason: str) -> None:
    """What expired while waiting or was born dead has its line and its notice, without its event."""
    dead = replace(DELIVERY, attempts=0, outcome=Outcome(reason), reason=reason)
    heard.telemetry.delivery_dead(event=None, delivery=dead, reason=reason)
    (line,) = heard.lines()
    assert (line["event"], line["event_id"], line["outcome"]) == ("delivery.dead", "evt_1", reason)
    assert "attempt" not in line
    assert [notice.kind for notice in heard.notices] == ["dead"]


def test_poison_is_told_like_any_other_death(heard: Heard) -> None:
    """A delivery that lost five owners is dead, and operators hear of it."""
    heard.telemetry.delivery_rescued(rescued=Rescue(dead=False))
    assert heard.notices == []
    heard.telemetry.delivery_rescued(rescued=Rescue(dead=True))
    assert [notice.kind for notice in heard.notices] == ["dead"]


def test_the_death_of_an_alert_is_logged_and_alerts_nobody(heard: Heard) -> None:
    """No alert about an alert: its death, however it came, is `alert.failed` in the log."""
    alert = replace(DELIVERY, source="relay")
    heard.telemetry.delivery_dead(event=EVENT, delivery=alert, attempt=ATTEMPT, reason="max_attempts")
    heard.telemetry.delivery_rescued(rescued=Rescue(dead=True, source="relay"))
    heard.telemetry.route_error(event=replace(EVENT, source="relay"), route="alerts", error="x")
    assert heard.notices == []
    failed = [line for line in heard.lines() if line["event"] == "alert.failed"]
    assert [(line["level"], line["destination"], line["reason"]) for line in failed] == [
        ("error", "billing", "max_attempts"),
        ("error", "billing", "poison"),
    ]


def test_a_request_to_no_source_alerts_nobody(heard: Heard) -> None:
    """Whoever finds the port could alert operators else."""
    reject(heard.telemetry, source="")
    heard.telemetry.request_refused(431, "headers_too_large", "10.0.0.1")
    assert heard.notices == []


def test_the_ledger_is_told_as_it_gets_worse(heard: Heard) -> None:
    """One notice when it is out, none while it stays so, one more when it is out by more."""
    for imbalance in (0, 2, 2, 1, 3, 0, 1):
        heard.telemetry.ledger_audited(imbalance=imbalance)
    assert len(heard.notices) == 3


def test_standings_have_their_lines_and_gauges(heard: Heard) -> None:
    """A breaker and a pause are told as they begin and end, and the gauges follow at once."""
    told = heard.telemetry
    told.breaker_opened(destination="billing", failures=10, error="HTTP 503")
    told.destination_paused(destination="billing", reason="operator")
    value = told.registry.get_sample_value
    assert value("relay_breaker_open", {"destination": "billing"}) == 1
    assert value("relay_paused", {"destination": "billing"}) == 1
    told.breaker_closed(destination="billing", seconds=31.04)
    told.destination_resumed(destination="billing", seconds=5.0)
    assert value("relay_breaker_open", {"destination": "billing"}) == 0
    assert value("relay_paused", {"destination": "billing"}) == 0
    told.breaker_opened(destination="billing")
    lines = heard.lines()
    assert [(line["event"], line["destination"]) for line in lines] == [
        ("breaker.opened", "billing"),
        ("destination.paused", "billing"),
        ("breaker.closed", "billing"),
        ("destination.resumed", "billing"),
        ("breaker.opened", "billing"),
    ]
    assert (lines[0]["failures"], lines[0]["error"]) == (10, "HTTP 503")
    assert lines[1]["reason"] == "operator"
    assert "failures" not in lines[4]


def test_a_configuration_that_is_refused_is_seen(heard: Heard) -> None:
    """The log has the report, and the metric says that what is on disk is not in force."""
    told = heard.telemetry
    told.config_loaded(path="relay.yaml", digest="d", sources=1)
    told.config_rejected(path="relay.yaml", report="relay.yaml:3: to: `chatt` is no destination")
    assert told.registry.get_sample_value("relay_config_ok") == 0
    rejected = heard.lines()[1]
    assert (rejected["event"], rejected["level"]) == ("config.rejected", "error")
    assert "chatt" in rejected["error"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (45.2, "45 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_lengths_of_time_are_for_people(seconds: float, text: str) -> None:
    """Each unit is used from twice its length on."""
    assert span(seconds) == text
