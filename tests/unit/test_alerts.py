"""Alerts: what a notice becomes, how often it is told, and what is looked for now and then."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from relay import config
from relay.alerts import MOST, WINDOW, Alerts, Tallies, Watch
from relay.config import Configuration
from relay.errors import JournalUnavailable
from relay.journal import DestinationStatus, Journal, Loss, Pin, Reader, SourceStatus, Status
from relay.model import Delivery, Event, EventState, Standing
from relay.telemetry import SEEN_BY_ALL, Kind, Notice, Telemetry
from tests.journal.making import NOW, StillClock, by_hand, make_settlement, opened
from tests.support.journals import prepare

KINDS: tuple[Kind, ...] = get_args(Kind)

GIB = 1 << 30

CONFIG = """
sources:
  stripe: {verify: none, silent_after: 6h}
  plain: {verify: none}
destinations:
  chat: {url: "http://127.0.0.1:9/chat"}
  mail: {email: {to: ops@example.com, from: relay@example.com, smtp: "smtp://127.0.0.1:25"}}
routes:
  - {source: stripe, to: chat}
  - {source: plain, to: chat}
"""


@dataclass(frozen=True)
class Disk:
    """A disk of this size with so much free."""

    free: int
    total: int = 1000 * GIB


@dataclass
class Desk:
    """Alerts over a real journal, with a clock that goes when the test says so."""

    alerts: Alerts
    watch: Watch
    journal: Journal
    reader: Reader
    clock: StillClock
    telemetry: Telemetry
    stream: io.StringIO
    nudged: list[str]
    url: str

    async def tell(self) -> None:
        """Store what may be told now."""
        await self.alerts.flush()

    def events(self) -> list[Event]:
        """The alerts in the journal, the first one first."""
        return self.reader.events()[::-1]

    def bodies(self) -> list[dict[str, Any]]:
        """What they say."""
        return [json.loads(event.body) for event in self.events()]

    def deliveries(self, event: Event) -> list[Delivery]:
        """Where one of them goes."""
        return self.reader.deliveries_of(event.id)

    def lines(self) -> list[dict[str, Any]]:
        """Every log line; ends the writing."""
        self.telemetry.close()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def configure(tmp_path: Path, rules: str) -> Configuration:
    """The configuration with these alerts."""
    path = tmp_path / "relay.yaml"
    path.write_text(f"{CONFIG}alerts:\n{rules}")
    return config.load(path, {})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Alerts about everything to chat, about lag and death to the mailbox as well."""
    rules = "  - {to: chat}\n  - {about: [dead, lagging], to: [mail, chat], lag: 1h}\n"
    clock, stream, nudged = StillClock(), io.StringIO(), list[str]()
    url = prepare(tmp_path / "relay.db")
    telemetry = Telemetry.configure(stream=stream)
    with opened(url, clock=clock, append_timeout=0.3) as journal, Reader.open(url) as reader:
        configuration = configure(tmp_path, rules)
        watch = Watch(configuration=configuration, telemetry=telemetry, clock=clock)
        alerts = Alerts(
            configuration=configuration,
            journal=journal,
            nudge=nudged.append,
            telemetry=telemetry,
            clock=clock,
        )
        telemetry.listen(alerts.note)
        yield Desk(alerts, watch, journal, reader, clock, telemetry, stream, nudged, url)
    telemetry.close()


def note(
    desk: Desk, kind: Kind = "rejected", about: str = "stripe", text: str = "No.", **more: float
) -> None:
    """Give notice."""
    desk.alerts.note(Notice(kind=kind, about=about, text=text, **more))


def status(
    *, oldest_at: float | None = None, pending: int = 3, last_at: float | None = None, name: str = "chat"
) -> Status:
    """A journal with one destination and one source."""
    destination = DestinationStatus(
        name=name,
        pending=pending,
        in_flight=0,
        oldest_at=oldest_at,
        due_at=None,
        dead=0,
        delivered=0,
        last_error=None,
        last_error_at=None,
        standing=Standing(name=name),
        held_lanes=0,
    )
    source = SourceStatus(name="stripe", last_at=last_at, accepted=1, rejected=0)
    return Status(destinations=(destination,), sources=(source,), nodes=(), bytes=0)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_becomes_an_event_with_its_deliveries(desk: Desk, kind: Kind) -> None:
    """A notice of any kind is stored as an event of the source `relay` and goes to who wants it."""
    note(desk, kind, "billing", "It is so.")
    await desk.tell()
    (event,) = desk.events()
    assert (event.source, event.type, event.state) == ("relay", kind, EventState.ROUTED)
    assert json.loads(event.body) == {
        "text": "It is so.",
        "kind": kind,
        "about": "billing",
        "count": 1,
        "since": "2023-11-14T22:13:20Z",
        "last": "2023-11-14T22:13:20Z",
    }
    wanted = {"chat", "mail"} if kind in {"dead", "lagging"} else {"chat"}
    deliveries = desk.deliveries(event)
    assert {one.destination for one in deliveries} == wanted
    assert {(one.route, one.source, one.owner) for one in deliveries} == {("alerts", "relay", None)}
    assert set(desk.nudged) == wanted
    assert desk.reader.ledger().balanced


async def test_an_alert_can_be_claimed_and_settled_like_any_other(desk: Desk) -> None:
    """Whoever claims finds it due, and its end is in the ledger under `relay`."""
    note(desk)
    await desk.tell()
    (claim,) = await desk.journal.claim("chat", 5)
    await desk.journal.settle(make_settlement(claim.delivery))
    (line,) = desk.reader.ledger().deliveries
    assert (line.source, line.planned, line.delivered) == ("relay", 1, 1)


async def test_an_email_gets_subject_and_text(desk: Desk) -> None:
    """A mailbox gets the words, everybody else the JSON."""
    note(desk, "dead", "billing", "A delivery is dead.")
    await desk.tell()
    by_name = {one.destination: one for one in desk.deliveries(desk.events()[0])}
    rendered = by_name["mail"].rendered
    assert rendered is not None
    assert (b"subject", b"Relay: delivery given up: billing") in rendered.headers
    assert rendered.body == b"A delivery is dead.\n"
    assert by_name["chat"].rendered is None


async def test_the_first_is_told_at_once_and_the_rest_together(desk: Desk) -> None:
    """In five minutes one kind about one thing is told once; then once more, with how often it was."""
    for number in range(4):
        note(desk, text=f"refused {number}")
        await desk.tell()
        desk.clock.at += 1
    assert [body["count"] for body in desk.bodies()] == [1]
    desk.clock.at = NOW + WINDOW - 1
    await desk.tell()
    assert len(desk.events()) == 1
    desk.clock.at = NOW + WINDOW
    await desk.tell()
    first, second = desk.bodies()
    assert first["text"] == "refused 0"
    assert second["count"] == 3
    assert second["text"] == "refused 3 (3 times since 2023-11-14T22:13:21Z)"
    assert (second["since"], second["last"]) == ("2023-11-14T22:13:21Z", "2023-11-14T22:13:23Z")


async def test_after_a_quiet_window_the_next_is_a_first_one_again(desk: Desk) -> None:
    """What happens again an hour later is told at once."""
    note(desk)
    await desk.tell()
    desk.clock.at += 3600
    note(desk)
    await desk.tell()
    assert [body["count"] for body in desk.bodies()] == [1, 1]


async def test_kinds_and_things_are_told_apart(desk: Desk) -> None:
    """Another kind, or the same about another thing, does not wait."""
    for kind, about in (("rejected", "stripe"), ("rejected", "plain"), ("paused", "stripe")):
        note(desk, kind, about)  # type: ignore[arg-type]
    await desk.tell()
    assert len(desk.events()) == 3


async def test_nodes_and_restarts_tell_a_thing_once(desk: Desk, tmp_path: Path) -> None:
    """A second process on the same journal counts what the first has told, until the window ends."""
    other = Alerts(
        configuration=desk.alerts._configuration,
        journal=desk.journal,
        nudge=desk.nudged.append,
        telemetry=desk.telemetry,
        clock=desk.clock,
    )
    note(desk)
    await desk.tell()
    other.note(Notice(kind="rejected", about="stripe", text="No."))
    await other.flush()
    assert len(desk.events()) == 1
    desk.clock.at += WINDOW
    await other.flush()
    assert [body["count"] for body in desk.bodies()] == [1, 1]


@pytest.mark.parametrize("kind", sorted(SEEN_BY_ALL))
async def test_what_every_node_sees_is_told_by_one_and_not_again_by_each(desk: Desk, kind: Kind) -> None:
    """Three nodes notice the same thing: operators hear of it once, also when the window has ended."""
    nodes = [
        Alerts(
            configuration=desk.alerts._configuration,
            journal=desk.journal,
            nudge=desk.nudged.append,
            telemetry=desk.telemetry,
            clock=desk.clock,
        )
        for _ in range(3)
    ]
    for node in nodes:
        node.note(Notice(kind=kind, about="chat", text="It.", seconds=700 if kind == "lagging" else None))
        await node.flush()
    for _ in nodes:
        desk.clock.at += WINDOW + 1
        for node in nodes:
            await node.flush()
    assert [body["count"] for body in desk.bodies()] == [1]


async def test_what_nobody_wants_is_not_kept(desk: Desk, tmp_path: Path) -> None:
    """Without a rule for it a notice is no alert; after a reload the new rules decide."""
    desk.alerts.replace(configure(tmp_path, "  - {about: [paused], to: [mail]}\n"))
    note(desk, "rejected")
    await desk.tell()
    assert desk.events() == []
    note(desk, "paused", "chat")
    await desk.tell()
    (delivery,) = desk.deliveries(desk.events()[0])
    assert delivery.destination == "mail"


async def test_rules_that_change_before_it_is_told_decide(desk: Desk, tmp_path: Path) -> None:
    """An alert whose last rule is gone when it could be stored is dropped."""
    note(desk, "rejected")
    desk.alerts.replace(configure(tmp_path, "  - {about: [paused], to: [mail]}\n"))
    await desk.tell()
    assert desk.events() == []


async def test_an_alert_waits_for_a_journal_that_takes_nothing(desk: Desk) -> None:
    """While the journal is away alerts are counted in memory, and stored when it is back."""
    with by_hand(desk.url) as connection:
        connection.execute("BEGIN IMMEDIATE")
        note(desk)
        with pytest.raises(JournalUnavailable):
            await desk.tell()
        note(desk)
        connection.execute("ROLLBACK")
    await _until_stored(desk)
    assert sum(body["count"] for body in desk.bodies()) == 2
    assert len(desk.events()) == 1


async def _until_stored(desk: Desk) -> None:
    for _ in range(200):
        try:
            await desk.tell()
        except JournalUnavailable:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("the journal did not recover")


async def test_running_tells_by_itself(desk: Desk) -> None:
    """The task stores an alert when it comes, and goes on."""
    task = asyncio.create_task(desk.alerts.run())
    try:
        for about in ("stripe", "plain"):
            note(desk, about=about)
            while not any(  # noqa: ASYNC110 - the journal has no event to wait for
                body["about"] == about for body in desk.bodies()
            ):
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_a_sender_wrote_cannot_keep_an_alert_from_being_stored(desk: Desk) -> None:
    """A text with half a surrogate pair or a line break is stored all the same."""
    note(desk, "dead", "chat", "bad \ud800\n\x00 text")
    await desk.tell()
    assert desk.bodies()[0]["text"] == "bad ?\n\x00 text"


async def test_alerts_in_memory_are_bounded(desk: Desk) -> None:
    """What comes on top of the bound is told by the log, once."""
    for number in range(MOST + 5):
        note(desk, about=f"source-{number}")
    failed = [line for line in desk.lines() if line["event"] == "alert.failed"]
    assert [line["about"] for line in failed] == [f"source-{MOST}"]


def test_tallies_forget_what_is_over() -> None:
    """A thing that was told and not met again takes no room when its window has ended."""
    tallies = Tallies(most=1)
    assert tallies.add(Notice(kind="dead", about="a", text=""), NOW)
    assert not tallies.add(Notice(kind="dead", about="b", text=""), NOW)
    (tally,) = tallies.due(NOW)
    tallies.told(tally, 1, NOW)
    assert tallies.next_due is None
    assert not tallies.add(Notice(kind="dead", about="b", text=""), NOW + WINDOW - 1)
    assert tallies.add(Notice(kind="dead", about="b", text=""), NOW + WINDOW)


async def test_a_paused_destinations_own_time_is_kept(desk: Desk) -> None:
    """The age of an alert begins by the destination's time, so that its pauses do not count."""
    await desk.journal.pause("chat", reason="operator")
    desk.clock.at += 100
    note(desk)
    await desk.tell()
    (delivery,) = desk.deliveries(desk.events()[0])
    assert delivery.age_from == NOW
    assert delivery.created_at == NOW + 100


async def test_a_backlog_is_told_when_a_rules_lag_has_passed(desk: Desk) -> None:
    """Each rule has its own lag, and each is told once as its lag passes."""
    for minutes in (9, 11, 20, 61, 70):
        desk.clock.at = NOW + minutes * 60
        desk.watch.look(status(oldest_at=NOW))
        await desk.tell()
    told = [{one.destination for one in desk.deliveries(event)} for event in desk.events()]
    assert told == [{"chat"}, {"chat", "mail"}]
    assert desk.bodies()[0]["text"] == "chat lags: 3 deliveries wait, the oldest for 11 min."


async def test_a_backlog_that_comes_back_is_told_again(desk: Desk) -> None:
    """Once it has gone below the lag, it is another backlog."""
    for minute, oldest_at in ((0, NOW - 700), (10, None), (20, NOW - 700)):
        desk.clock.at = NOW + minute * 60
        desk.watch.look(status(oldest_at=oldest_at))
        await desk.tell()
    assert len(desk.events()) == 2


@pytest.mark.parametrize("last_at", [None, NOW])
async def test_silence_counts_from_the_last_event_or_the_start(desk: Desk, last_at: float | None) -> None:
    """After `silent_after` without an event operators are told, once for each silence."""
    for hours in (5.9, 6.1, 7):
        desk.clock.at = NOW + hours * 3600
        desk.watch.look(status(last_at=last_at))
        await desk.tell()
    assert [(body["kind"], body["about"]) for body in desk.bodies()] == [("source_silent", "stripe")]
    desk.watch.look(status(last_at=desk.clock.at))
    desk.clock.at += 7 * 3600
    desk.watch.look(status(last_at=desk.clock.at - 7 * 3600))
    await desk.tell()
    assert len(desk.events()) == 2
    assert len([line for line in desk.lines() if line["event"] == "source.silent"]) == 2


async def test_a_source_that_a_reload_brought_is_silent_from_then_on(desk: Desk, tmp_path: Path) -> None:
    """What was never heard is judged from when it came into the file."""
    path = tmp_path / "relay.yaml"
    path.write_text(
        path.read_text().replace(
            "plain: {verify: none}", "plain: {verify: none}\n  new: {verify: none, silent_after: 1h}"
        )
    )
    desk.clock.at += 3000
    desk.watch.replace(config.load(path, {}))
    desk.clock.at += 3000
    desk.watch.look(status(last_at=NOW))
    await desk.tell()
    assert desk.events() == []
    desk.clock.at += 1000
    desk.watch.look(status(last_at=NOW))
    await desk.tell()
    assert [body["about"] for body in desk.bodies()] == ["new"]


@pytest.mark.parametrize(
    ("disk", "low"),
    [
        (Disk(free=4 * GIB), True),
        (Disk(free=6 * GIB), False),
        (Disk(total=20 * GIB, free=GIB - 1), True),
        (Disk(total=20 * GIB, free=GIB + 1), False),
        (Disk(total=GIB, free=200 << 20), True),
        (Disk(total=GIB, free=300 << 20), False),
    ],
)
async def test_a_disk_that_fills_is_told_once(desk: Desk, disk: Disk, *, low: bool) -> None:
    """A twentieth of the disk is the mark, of large ones 5 GiB, of small ones 256 MiB."""
    for _ in range(3):
        desk.watch.look_at_disk(disk)
        desk.clock.at += WINDOW
        await desk.tell()
    assert [body["kind"] for body in desk.bodies()] == (["disk_low"] if low else [])


READER = Pin(by="process 7 (sqlite3)", does="reads without a pause")


def transaction(seconds: float, by: str = "process 8 (ann psql)") -> Pin:
    """One that lasts for so long."""
    return Pin(by=by, does=f"is in a transaction for {seconds:.0f} s", seconds=seconds)


@pytest.mark.parametrize(
    ("pins", "told"),
    [
        ([None, READER, READER], ["process 7"]),
        ([READER, None, READER], ["process 7", "process 7"]),
        ([transaction(500), transaction(599)], []),
        ([transaction(500), transaction(601), transaction(700)], ["process 8"]),
        ([transaction(700), transaction(700, by="process 9")], ["process 8", "process 9"]),
    ],
)
async def test_who_pins_the_journal_is_told_as_it_begins(
    desk: Desk, pins: list[Pin | None], told: list[str]
) -> None:
    """A reader of a large log at once, a transaction once it is older than the rule's lag."""
    for pin in pins:
        desk.watch.look_at_pin(pin)
        desk.clock.at += WINDOW
        await desk.tell()
    texts = [body["text"] for body in desk.bodies()]
    assert len(texts) == len(told)
    assert all(who in text and "relay doctor" in text for who, text in zip(told, texts, strict=True))


async def test_events_that_are_gone_are_told_once_and_again_where_they_are_more(desk: Desk) -> None:
    """The number grows as other nodes say what they miss; once accepted, the loss is told of no more."""
    loss = Loss(id="1a2b3c4d", slots={0: 31}, since=NOW, seen_at=NOW)
    more = replace(loss, slots={0: 31, 1: 6})
    for losses in ((loss,), (loss,), (more,), ()):
        desk.watch.look(replace(status(last_at=NOW), losses=losses))
        await desk.tell()
        desk.clock.at += WINDOW
    assert [body["about"] for body in desk.bodies()] == ["1a2b3c4d"] * 2
    assert ["31" in body["text"] for body in desk.bodies()] == [True, False]
    assert "37" in desk.bodies()[1]["text"]


async def test_an_alert_is_an_accepted_event_in_the_log(desk: Desk) -> None:
    """Like any other event it has its line and its count, under the source `relay`."""
    note(desk)
    await desk.tell()
    assert (
        desk.telemetry.registry.get_sample_value(
            "relay_events_total", {"source": "relay", "result": "accepted"}
        )
        == 1
    )
    (line,) = desk.lines()
    assert (line["event"], line["source"], line["routes"]) == ("event.accepted", "relay", ["alerts"])
