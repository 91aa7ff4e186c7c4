"""Log lines and metrics: one line each, whatever the values hold, and both agree."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from relay.model import Attempt, Decision, Delivery, Event, EventState, Outcome, Standing
from relay.telemetry import Telemetry
from relay.telemetry.log_writer import CAPACITY, ROOM, LineWriter
from relay.telemetry.logs import cut, iso, masked

EVENT = Event(
    id="evt_1",
    source="github",
    type="pull_request.opened",
    provider_id="72d3162e",
    received_at=0.0,
    method="POST",
    path="/github",
    query=b"",
    headers=(),
    body=b"{}",
    remote="127.0.0.1",
)
DELIVERY = Delivery(
    id="dlv_1",
    event_id="evt_1",
    source="github",
    route="new",
    destination="chat",
    key="dlv_1",
    created_at=0.0,
    age_from=0.0,
)
ATTEMPT = Attempt(
    delivery_id="dlv_1",
    number=2,
    started_at=0.0,
    duration=0.25,
    outcome=Outcome.HTTP_STATUS,
    node="n",
    status=503,
    error="503 Service Unavailable",
)

HOSTILE = [
    "line\nbreak",
    "carriage\rreturn",
    "\x1b[31mred\x1b[0m",
    "next\x85line",
    "separator\u2028and\u2029",
    "c1 \x9b31m",
    "nul\x00 bell\x07 delete\x7f",
    "lone \ud800 surrogate",
    "rtl \u202e override",
]


class Told:
    """A telemetry that writes into memory, and what it wrote."""

    def __init__(self, **options: Any) -> None:
        self.stream = io.StringIO()
        self.telemetry = Telemetry.configure(stream=self.stream, **options)

    def text(self) -> str:
        """Everything written so far; ends the writing."""
        self.telemetry.close()
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed."""
        return [json.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        """The only line."""
        (line,) = self.lines()
        return line

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        value: float | None = self.telemetry.registry.get_sample_value(name, labels)
        return value


@pytest.fixture
def make() -> Iterator[Callable[..., Told]]:
    """Makes telemetries that are closed after the test."""
    made: list[Told] = []

    def build(**options: Any) -> Told:
        made.append(Told(**options))
        return made[-1]

    yield build
    for told in reversed(made):
        told.telemetry.close()


@pytest.fixture
def told(make: Callable[..., Told]) -> Told:
    """A telemetry that writes JSON."""
    return make()


def finish(telemetry: Telemetry, attempt: Attempt = ATTEMPT, **changes: Any) -> None:
    """Tell of an attempt that failed and is tried again."""
    facts: dict[str, Any] = {
        "event": EVENT,
        "delivery": DELIVERY,
        "decision": Decision.RETRY,
        "next_attempt_at": 1_800_000_000.5,
    }
    telemetry.attempt_finished(attempt=attempt, **(facts | changes))


def accept(telemetry: Telemetry, event: Event = EVENT) -> None:
    """Tell of an event that was taken."""
    telemetry.event_accepted(event=event, routes=["new"], deliveries=1, secret_index=1, duration=0.002)


def test_timestamp_level_and_event_come_first(told: Told) -> None:
    """Every line begins with when, how bad and what."""
    accept(told.telemetry)
    line = told.line()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert len(line["timestamp"]) == len("2027-01-15T08:00:00.000000Z")
    assert (line["level"], line["event"]) == ("info", "event.accepted")


def test_an_accepted_event_says_where_it_goes_and_which_secret_matched(told: Told) -> None:
    """The one line of an event has what an operator searches by."""
    accept(told.telemetry)
    line = told.line()
    del line["timestamp"], line["level"], line["event"]
    assert line == {
        "event_id": "evt_1",
        "provider_id": "72d3162e",
        "source": "github",
        "type": "pull_request.opened",
        "routes": ["new"],
        "deliveries": 1,
        "secret_index": 1,
        "bytes": 2,
        "duration_ms": 2.0,
    }
    assert told.value("relay_events_total", source="github", result="accepted") == 1


def test_an_attempt_says_how_it_ended_and_what_follows(told: Told) -> None:
    """The one line of an attempt has its outcome, the decision and the next time."""
    finish(told.telemetry)
    line = told.line()
    del line["timestamp"]
    assert line == {
        "level": "warning",
        "event": "attempt.finished",
        "event_id": "evt_1",
        "delivery_id": "dlv_1",
        "provider_id": "72d3162e",
        "source": "github",
        "route": "new",
        "destination": "chat",
        "attempt": 2,
        "outcome": "http_status",
        "status": 503,
        "duration_ms": 250.0,
        "error": "503 Service Unavailable",
        "decision": "retry",
        "next_attempt_at": "2027-01-15T08:00:00.500Z",
    }
    assert told.value("relay_attempts_total", destination="chat", outcome="http_status") == 1
    assert told.value("relay_attempt_seconds_sum") == 0.25


def test_what_does_not_apply_is_left_out(told: Told) -> None:
    """A key without a value is no key."""
    bare = replace(EVENT, type=None, provider_id=None)
    done = replace(ATTEMPT, outcome=Outcome.DELIVERED, status=200, error=None)
    finish(told.telemetry, done, event=bare, decision=Decision.DELIVERED, next_attempt_at=None)
    told.telemetry.event_accepted(event=bare, routes=(), deliveries=0, secret_index=None, duration=0.0)
    for line in told.lines():
        assert None not in line.values()
        assert not line.keys() & {"error", "note", "next_attempt_at", "provider_id", "type"}


def test_a_dead_delivery_is_an_error(told: Told) -> None:
    """Giving up is what operators are woken for."""
    told.telemetry.delivery_dead(event=EVENT, delivery=DELIVERY, attempt=ATTEMPT, reason="max_attempts")
    line = told.line()
    assert (line["level"], line["event"], line["reason"]) == ("error", "delivery.dead", "max_attempts")
    assert (line["outcome"], line["status"], line["error"]) == ("http_status", 503, "503 Service Unavailable")


@dataclass(frozen=True)
class Rescue:
    """A delivery that lost its owner."""

    dead: bool
    delivery_id: str = "dlv_1"
    event_id: str = "evt_1"
    source: str = "github"
    destination: str = "chat"
    owners_lost: int = 1


def test_poison_is_dead_and_not_rescued(told: Told) -> None:
    """What lost too many owners is an error under its own name."""
    told.telemetry.delivery_rescued(rescued=Rescue(dead=False))
    told.telemetry.delivery_rescued(rescued=Rescue(dead=True))
    rescued, dead = told.lines()
    assert (rescued["level"], rescued["event"]) == ("warning", "delivery.rescued")
    assert (dead["level"], dead["event"], dead["reason"]) == ("error", "delivery.dead", "poison")


def test_each_result_of_a_posting_has_its_line_and_its_count(told: Told) -> None:
    """Lines and metrics agree for duplicates, conflicts and filtered events."""
    filtered = replace(EVENT, state=EventState.FILTERED, reason="no_match")
    told.telemetry.event_filtered(event=filtered)
    told.telemetry.event_duplicate(event=EVENT, first="evt_0", revived=["chat"])
    told.telemetry.event_conflict(event=EVENT, first="evt_0")
    told.telemetry.route_error(event=EVENT, route="new", error="no such key: a")
    told.telemetry.acknowledged(source="github", seconds=0.002)
    one, two, three, four = told.lines()
    assert (one["event"], one["reason"]) == ("event.filtered", "no_match")
    assert (two["event"], two["event_id"], two["revived"]) == ("event.duplicate", "evt_0", ["chat"])
    assert (three["event"], three["first_event_id"]) == ("event.conflict", "evt_0")
    assert (four["event"], four["route"], four["error"]) == ("route.error", "new", "no such key: a")
    for result in ("filtered", "duplicate", "conflict"):
        assert told.value("relay_events_total", source="github", result=result) == 1
    assert told.value("relay_route_errors_total") == 1
    assert told.value("relay_ack_seconds_count", source="github") == 1
    assert (told.value("relay_last_event_timestamp", source="github") or 0) > 0


def test_rejections_do_not_multiply_labels_or_lines(told: Told) -> None:
    """A sender that makes up paths makes long lines short and no new label."""
    for number in range(50):
        path = f"/{number}" + "x" * 10_000
        told.telemetry.event_rejected(
            source="", reason="unknown_source", status=404, remote="r" * 900, path=path
        )
    told.telemetry.request_refused(431, "headers_too_large", "10.0.0.1")
    lines = told.lines()
    assert all(len(json.dumps(line)) < 900 for line in lines)
    assert "source" not in lines[0]
    assert (lines[-1]["status"], lines[-1]["reason"]) == (431, "headers_too_large")
    assert told.value("relay_rejected_total", source="", reason="unknown_source") == 50
    samples = [s for m in told.telemetry.registry.collect() if m.name == "relay_rejected" for s in m.samples]
    assert len([sample for sample in samples if sample.name.endswith("_total")]) == 2


def test_the_node_is_on_every_line_once_it_is_known(told: Told) -> None:
    """After `bind`, each line says which node speaks."""
    told.telemetry.service_started(journal="postgresql://relay:canary@db/relay")
    told.telemetry.bind(node="n1")
    told.telemetry.service_ready(version="1")
    first, second = told.lines()
    assert "node" not in first
    assert first["journal"] == "postgresql://[masked]@db/relay"
    assert second["node"] == "n1"


def test_people_see_the_end_of_a_nodes_id(make: Callable[..., Told]) -> None:
    """It begins with a time, which nodes that start together share; JSON has all of it."""
    node = "0192f0c8a1b27c3d9e4f5a6b7c8d9e0f"
    for log_format, shown in (("console", "'7c8d9e0f'"), ("json", f'"{node}"')):
        told = make(log_format=log_format)
        told.telemetry.bind(node=node)
        told.telemetry.service_ready(version="1")
        assert shown in told.text()
        assert (node in told.text()) is (log_format == "json")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://relay.example/hooks/sms", "https://relay.example/hooks/sms"),
        (
            "https://relay.example/hooks/sms?bodySHA256=canary&canary&a=&=canary&b=canary=canary",
            "https://relay.example/hooks/sms?bodySHA256=[masked]&[masked]&a=&=[masked]&b=[masked]",
        ),
        ("https://me:canary@relay.example/?", "https://[masked]@relay.example/?"),
        (f"https://relay.example/?a={'canary' * 10_000}", "https://relay.example/?a=[masked]"),
    ],
)
def test_the_url_that_a_signature_was_checked_over(told: Told, url: str, shown: str) -> None:
    """It is in the line without what may be a secret: a user, and every value of the query."""
    told.telemetry.event_rejected(source="", reason="x", status=401, remote=None, path="/hooks/a", url=url)
    (line,) = told.lines()
    assert (line["url"], line["path"]) == (shown, "/hooks/a")


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_cannot_end_a_line_or_colour_a_terminal(
    make: Callable[..., Told], log_format: str, text: str
) -> None:
    """Whatever a sender or a downstream wrote is shown escaped, in both formats."""
    told = make(log_format=log_format)
    accept(told.telemetry, replace(EVENT, provider_id=text, type=text))
    finish(told.telemetry, replace(ATTEMPT, error=text, note=text))
    told.telemetry.event_rejected(source="", reason="x", status=404, remote=text, path=text, url=text)
    told.telemetry.service_ready(
        fact=text, deep={"a": [text, {"b": text}]}, raw=text.encode("utf-8", "replace")
    )
    logging.getLogger("aiohttp").error("failed: %s", text)
    told.telemetry.internal_error(where="test", error=ValueError(text))
    written = told.text()
    assert written.count("\n") == 6
    assert len(written.splitlines()) == 6
    assert all(line.isprintable() for line in written.split("\n"))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_that_cannot_be_shown_does_not_fail_the_caller(
    make: Callable[..., Told], log_format: str
) -> None:
    """A line is written for values that JSON has no form for."""

    class Spiteful:
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    told = make(log_format=log_format)
    cycle: list[Any] = []
    cycle.append(cycle)
    facts = [float("nan"), float("inf"), 10**5_000, Spiteful(), {1: b"\xff"}, {(1, 2): 3}, cycle, {"a", "b"}]
    for fact in facts:
        told.telemetry.service_ready(fact=fact)
    assert len(told.text().splitlines()) == len(facts)


def test_secrets_are_masked_by_the_names_of_their_keys(told: Told) -> None:
    """A value under a key that names a secret is never written, however deep."""
    told.telemetry.service_ready(
        admin_token="canary",
        Password="canary",
        headers={
            "Authorization": "canary",
            "Cookie": ["canary"],
            "X-Hub-Signature-256": "canary",
            "Accept": "ok",
        },
        nested=[{"client_secret": {"value": "canary"}}],
    )
    written = told.text()
    assert "canary" not in written
    assert '"Accept":"ok"' in written
    assert written.count("[masked]") == 6


@pytest.mark.parametrize(
    "text",
    [
        "GET https://x/y?token=canary failed",
        "https://x/y?a=1&api_key=canary&b=2",
        "Authorization: Bearer canary",
        "headers {'Authorization': 'Basic canary'}",
        "sent Bearer canarycanarycanary to them",
        "Cookie: session=canary; other=canary",
        "https://user:canary@host/path",
        "client_secret=canary",
    ],
)
def test_credentials_in_free_text_are_masked(told: Told, text: str) -> None:
    """An error that quotes a credential shows all but the credential."""
    finish(told.telemetry, replace(ATTEMPT, error=text, note=text))
    logging.getLogger("library").warning("%s", text)
    told.telemetry.unavailable(text)
    written = told.text()
    assert "canary" not in written
    assert "[masked]" in written


def test_masking_leaves_ordinary_text_alone() -> None:
    """What is no credential is not touched, and long text costs no time."""
    for text in ("Cannot connect to host x:443", "unexpected token at 3", "signature mismatch", "a" * 4_000):
        assert masked(text) == text


def test_library_records_are_lines_like_others(told: Told) -> None:
    """Warnings of libraries come with their logger's name; what is less is left out."""
    logging.getLogger("aiohttp.client").info("chatter")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    logging.getLogger("uvicorn.access").warning("GET /secret")
    try:
        raise ValueError("boom")  # noqa: TRY301 - the traceback is what is looked at
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    record = logging.LogRecord("broken", logging.ERROR, "", 0, "%d", ("no number",), None)
    told.telemetry._logs._handler.handle(record)
    slow, failed, broken = told.lines()
    assert (slow["level"], slow["event"], slow["logger"]) == ("warning", "library.message", "asyncio")
    assert slow["message"] == "slow callback"
    assert failed["level"] == "error"
    assert "ValueError: boom" in failed["traceback"]
    assert broken["message"] == "unprintable: %d"


def test_closing_gives_the_standard_library_back() -> None:
    """A process that logs no more leaves no handler behind."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    telemetry = Telemetry.configure(stream=io.StringIO())
    assert root.handlers != before[0]
    telemetry.close()
    telemetry.close()
    assert (root.handlers[:], root.level) == before


def test_the_level_filters_lines_but_not_metrics(make: Callable[..., Told]) -> None:
    """LOG_LEVEL=error shows errors alone; everything is counted."""
    told = make(log_level="ERROR")
    accept(told.telemetry)
    finish(told.telemetry)
    told.telemetry.unavailable("disk full")
    assert [line["event"] for line in told.lines()] == ["journal.unavailable"]
    assert told.value("relay_events_total", source="github", result="accepted") == 1
    assert told.value("relay_attempts_total", destination="chat", outcome="http_status") == 1


def test_an_error_is_written_while_the_service_goes_on() -> None:
    """Lines reach the stream without a close, in their order."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        telemetry = Telemetry.configure(stream=writer)
        accept(telemetry)
        telemetry.unavailable("disk full")
        events = [json.loads(reader.readline())["event"] for _ in range(2)]
        accept(telemetry)
        events.append(json.loads(reader.readline())["event"])
        telemetry.close()
    assert events == ["event.accepted", "journal.unavailable", "event.accepted"]


def test_a_broken_stdout_raises_nothing() -> None:
    """A reader that is gone, or a closed stream, costs lines and nothing else."""
    reading, writing = os.pipe()
    os.close(reading)
    closed = io.StringIO()
    closed.close()
    with os.fdopen(writing, "w") as writer:
        for stream in (writer, closed, None):
            lines = LineWriter(stream)
            lines.error("lost")
            lines.info("lost")
            lines.close()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_stalled_stdout_keeps_nobody_waiting(*, blocking: bool) -> None:
    """Who logs never waits; when the reader goes on, what was kept comes whole, and the rest counted."""
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        lines = LineWriter(writer, lost=lambda count: f"lost {count}")
        lines.error("x" * 1_000_000)  # more than a pipe holds
        while lines._lines:  # the thread has taken it and hangs in the write
            time.sleep(0.005)
        for number in range(CAPACITY + 7):
            lines.info(str(number))
        assert len(reader.readline()) == 1_000_001
        kept = [reader.readline() for _ in range(CAPACITY + 1)]
        lines.close()
    assert kept[0] == "0\n"
    assert kept[CAPACITY] == "lost 7\n"


def test_what_is_kept_for_a_stalled_stdout_is_bounded_in_bytes() -> None:
    """Lines that hold what senders wrote are long: a few of them fill the room that many others have."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        lines = LineWriter(writer, lost=lambda count: f"lost {count}")
        lines.error("x" * 1_000_000)
        while lines._lines:  # the thread has taken it and hangs in the write
            time.sleep(0.005)
        for _ in range(ROOM // 1_000_000 + 3):
            lines.info("y" * 1_000_000)
        lines.info("short")
        reader.readline()
        kept = [reader.readline() for _ in range(ROOM // 1_000_000 + 2)]
        lines.close()
    assert kept[-3].startswith("y")
    assert kept[-2:] == ["short\n", "lost 3\n"]


def test_lines_of_many_threads_are_whole(told: Told) -> None:
    """The journal's thread logs beside the event loop's."""

    def work() -> None:
        for _ in range(200):
            told.telemetry.unavailable("e")
            told.telemetry.committed(3, 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told.lines()) == 800
    assert told.value("relay_journal_commit_seconds_count") == 800
    assert told.value("relay_journal_batch_size_sum") == 2_400


@dataclass(frozen=True)
class Figure:
    """A destination's figures."""

    name: str
    pending: int
    oldest_at: float | None
    dead: int
    standing: Standing = field(default_factory=lambda: Standing(name=""))


@dataclass(frozen=True)
class Status:
    """A journal's figures."""

    destinations: tuple[Figure, ...]


def test_gauges_follow_the_journal_and_forget_what_left_it(told: Told) -> None:
    """A destination that is no longer named has no gauge."""
    both = Status((Figure("chat", 3, 90.0, 1), Figure("old", 1, 10.0, 0)))
    told.telemetry.refresh(now=100.0, status=both, journal_bytes=5, disk_free=6)
    assert told.value("relay_oldest_pending_seconds", destination="old") == 90.0
    one = Status((Figure("chat", 0, None, 2),))
    told.telemetry.refresh(now=100.0, status=one, journal_bytes=7, disk_free=8)
    assert told.value("relay_backlog", destination="old") is None
    assert told.value("relay_backlog", destination="chat") == 0
    assert told.value("relay_oldest_pending_seconds", destination="chat") == 0
    assert told.value("relay_dead", destination="chat") == 2
    assert told.value("relay_journal_bytes") == 7
    assert told.value("relay_disk_free_bytes") == 8


def test_a_journal_without_a_disk_of_this_machine_has_no_gauge_of_one(told: Told) -> None:
    """Zero bytes would be an alarm, and any other figure would be of the wrong disk."""
    told.telemetry.refresh(now=100.0, status=Status(()), journal_bytes=5, disk_free=None)
    assert told.value("relay_disk_free_bytes") is None
    assert told.value("relay_journal_bytes") == 5


def test_gauges_show_breakers_and_pauses(told: Told) -> None:
    """What the journal has of a destination's breaker and pause is a gauge of ones and zeros."""
    paused = Standing(name="a", paused_at=5.0)
    opened = Standing(name="b", opened_at=5.0)
    status = Status((Figure("a", 0, None, 0, paused), Figure("b", 0, None, 0, opened)))
    told.telemetry.refresh(now=100.0, status=status, journal_bytes=1, disk_free=1)
    assert (told.value("relay_paused", destination="a"), told.value("relay_paused", destination="b")) == (
        1,
        0,
    )
    assert told.value("relay_breaker_open", destination="a") == 0
    assert told.value("relay_breaker_open", destination="b") == 1


def test_what_left_the_configuration_has_no_metric_any_more(told: Told) -> None:
    """At a reload the labels of sources and destinations that are gone are dropped, and no others."""
    telemetry = told.telemetry
    for source in ("github", "old", "relay"):
        accept(telemetry, replace(EVENT, source=source))
        telemetry.acknowledged(source=source, seconds=0.1)
        telemetry.event_rejected(source=source, reason="x", status=401, remote=None, path=None)
    telemetry.event_rejected(source="", reason="x", status=404, remote=None, path=None)
    for destination in ("chat", "gone"):
        finish(telemetry, delivery=replace(DELIVERY, destination=destination))
    telemetry.configured(sources={"github"}, destinations={"chat"})
    labels = {
        value
        for metric in telemetry.registry.collect()
        for sample in metric.samples
        for name, value in sample.labels.items()
        if name in {"source", "destination"}
    }
    assert labels == {"github", "relay", "", "chat"}
    accept(telemetry, replace(EVENT, source="old"))
    assert told.value("relay_events_total", source="old", result="accepted") == 1


def test_the_configuration_in_force_is_a_metric(told: Told) -> None:
    """It is one from when the file is loaded on; the ledger's imbalance is another."""
    assert told.value("relay_config_ok") == 0
    told.telemetry.config_loaded(path="relay.yaml", digest="d", sources=1, destinations=2)
    assert told.value("relay_config_ok") == 1
    told.telemetry.ledger_audited(imbalance=4)
    assert told.value("relay_ledger_imbalance") == 4
    assert [line["event"] for line in told.lines()] == ["config.loaded"]


def test_warnings_of_a_file_are_one_line(told: Told) -> None:
    """At each load, up to as many as anybody reads there."""
    told.telemetry.config_loaded(path="relay.yaml", digest="d", warnings=["one"] * 50, sources=1)
    loaded, warned = told.lines()
    assert loaded["event"] == "config.loaded"
    assert (warned["event"], warned["level"], warned["count"]) == ("config.warning", "warning", 50)
    assert warned["warnings"] == ["one"] * 20


def test_the_rest_of_the_closed_list_keeps_its_names(told: Told) -> None:
    """Operators search for these names."""
    telemetry = told.telemetry
    telemetry.service_started(version="1")
    telemetry.service_ready()
    telemetry.service_draining(grace=25.0, in_flight=3)
    telemetry.service_stopped()
    telemetry.handshake_answered(source="slack")
    telemetry.delivery_fenced(event=EVENT, delivery=DELIVERY, attempt=ATTEMPT)
    telemetry.recovered()
    telemetry.retention_purged(events=3)
    assert [line["event"] for line in told.lines()] == [
        "service.started",
        "service.ready",
        "service.draining",
        "service.stopped",
        "handshake.answered",
        "delivery.fenced",
        "journal.recovered",
        "retention.purged",
    ]


def test_times_past_the_calendar_are_no_time() -> None:
    """A due time that no calendar reaches does not fail the line."""
    assert iso(1_800_000_000.0) == "2027-01-15T08:00:00.000Z"
    assert iso(1e300) is None
    assert iso(float("nan")) is None


def test_cut_keeps_what_fits() -> None:
    """Text is cut at its length, with a mark that it was."""
    assert cut(None) is None
    assert cut("x" * 256) == "x" * 256
    assert cut("x" * 257) == "x" * 255 + "…"


def test_no_row_that_postgresql_refused_is_shown() -> None:
    """Its DETAIL has the row's values; what the report says besides stays."""
    report = "CheckViolation: new row\nDETAIL:  Failing row contains (1, canary).\nCONTEXT: a trigger"
    assert masked(report) == "CheckViolation: new row\nDETAIL:  [masked]\nCONTEXT: a trigger"
