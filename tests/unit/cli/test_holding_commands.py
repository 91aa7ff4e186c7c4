"""The commands that hold back, give up and go on, and what waits: on a real journal, without a service."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relay import replays
from relay.cli.app import app
from relay.journal import Entry, Journal
from relay.model import Delivery, Event
from relay.process.clock import Clock
from tests.support.journals import prepare

CONFIG = """\
sources:
  in: {verify: none}
destinations:
  out: {url: "https://out.example.com", order: {key: body.k, on_dead: hold}}
  more: {url: "https://more.example.com"}
routes:
  - {name: today, source: in, to: [out, more]}
"""

Run = Callable[..., Result]


def an_event(number: int) -> Event:
    """One event."""
    return Event(
        id=f"evt_{number}",
        source="in",
        type=None,
        provider_id=None,
        received_at=time.time(),
        method="POST",
        path="/in",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=b'{"k": "lane one"}',
        remote=None,
    )


def a_delivery(number: int, destination: str, *, lane: str | None = None, **changes: Any) -> Delivery:
    """A delivery of an event, due at once."""
    now = time.time()
    values: dict[str, Any] = {
        "id": f"dlv_{number}_{destination}",
        "event_id": f"evt_{number}",
        "source": "in",
        "route": "today",
        "destination": destination,
        "key": f"key-{number}-{destination}",
        "created_at": now,
        "age_from": now,
        "due_at": now,
        "lane": lane,
        "hold": lane is not None,
    }
    return Delivery(**(values | changes))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command where two events wait in one lane of `out`, and the second for `gone` too."""
    (tmp_path / "relay.yaml").write_text(CONFIG)
    url = prepare(tmp_path / "relay.db")

    async def tell() -> None:
        journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
        try:
            first = (a_delivery(1, "out", lane="lane one"),)
            await journal.append(Entry(event=an_event(1), deliveries=first))
            second = (a_delivery(2, "out", lane="lane one"), a_delivery(2, "gone"))
            await journal.append(Entry(event=an_event(2), deliveries=second))
        finally:
            journal.close()

    asyncio.run(tell())
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "relay.yaml"))
    monkeypatch.setenv("RELAY_JOURNAL", url)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return command


def blocked(run: Run) -> dict[str, str]:
    """What `deliveries --blocked` lists, each with what it waits for."""
    listed = json.loads(run("deliveries", "--blocked", "--json").stdout)["deliveries"]
    return {one["id"]: one["waits_for"] for one in listed}


def test_a_check_says_what_a_changed_order_makes_wait(run: Run, tmp_path: Path) -> None:
    """`check --against-journal` counts what is pending that was planned by another order than the file's."""

    async def planned_without_order() -> None:
        journal = Journal.open(os.environ["RELAY_JOURNAL"], clock=Clock(), node=None)
        try:
            await journal.change_orders({"out": {"in/today": ""}, "more": {"in/today": ""}}, [])
        finally:
            journal.close()

    assert "`order`" not in run("check", "--against-journal").stdout, "nobody knows by what it was planned"
    asyncio.run(planned_without_order())
    told = run("check", "--against-journal").stdout
    assert "out: `order` changes with 2 deliveries pending: new ones wait until these have ended, but" in told
    assert "more: `order`" not in told
    (tmp_path / "relay.yaml").write_text(CONFIG.replace(", order: {key: body.k, on_dead: hold}", ""))
    assert "`order`" not in run("check", "--against-journal").stdout


def test_a_replay_to_a_destination_whose_order_nobody_knows_here_is_refused(run: Run, tmp_path: Path) -> None:
    """It would go in no lane, and so overtake; where the event went there before, its lane is known."""
    (tmp_path / "relay.yaml").write_text(
        CONFIG.replace("key: body.k", 'key: "${KEY}"').replace(
            'more.example.com"', 'more.example.com", order: "${KEY}"'
        )
    )
    refused = run("replay", "evt_1", "--to", "more")
    assert refused.exit_code == 2
    assert "the `order` of more depends on a variable that is not set here" in " ".join(
        refused.output.split()
    )
    assert run("replay", "evt_1", "--to", "out").exit_code == 0
    listed = json.loads(run("deliveries", "--destination", "out", "--json").stdout)["deliveries"]
    assert len(listed) == 3


def test_what_is_due_names_the_rate_that_it_waits_for(run: Run, tmp_path: Path) -> None:
    """Of a destination without one the list says no more than that it is due."""

    def listed() -> str:
        (line,) = (line for line in run("deliveries").stdout.splitlines() if "dlv_1_out" in line)
        return line

    assert listed().endswith("due")
    limited = CONFIG.replace("out: {", "out: {limits: {rate: 10/m}, ")
    (tmp_path / "relay.yaml").write_text(limited)
    assert listed().endswith("due: at most 10/m")
    shown = run("show", "evt_1").stdout
    assert "waits: its turn (due " in shown
    assert "): at most 10/m" in shown


def test_what_waits_says_for_what(run: Run) -> None:
    """Behind its lane, for a destination that left; the head of a lane waits for nothing."""
    assert blocked(run) == {"dlv_2_out": "behind in its lane", "dlv_2_gone": "not in the file"}
    shown = run("show", "evt_2").stdout
    assert "waits: behind 1 other of its lane, dlv_1_out first" in shown
    assert "waits: gone is not in the file" in shown
    assert "order key lane one" in shown
    assert "waits:" not in run("show", "evt_1").stdout
    assert "behind others in their lanes: 1" in run("ledger").stdout
    status = json.loads(run("status", "--json").stdout)["destinations"]
    assert {one["name"]: one["in_file"] for one in status} == {"gone": False, "out": True}


def test_a_file_with_mistakes_still_lets_operators_look(run: Run, tmp_path: Path) -> None:
    """`show` and `status` answer from the journal, and say what they cannot tell."""
    (tmp_path / "relay.yaml").write_text("sources: 1")
    for arguments in (["show", "evt_1"], ["status"], ["deliveries"], ["ledger"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "has mistakes" in result.stderr


def test_pause_and_resume_say_what_they_did(run: Run) -> None:
    """Each once; what is paused is blocked for that reason, with the way out."""
    assert run("pause", "out", "--reason", "moving \x1b[31mhouse").exit_code == 0
    assert run("pause", "out").exit_code == 1
    assert blocked(run)["dlv_1_out"] == "paused"
    shown = run("show", "evt_1").stdout
    assert r"(moving \x1b[31mhouse): `relay resume out`" in shown
    assert "paused" in run("status").stdout
    resumed = run("resume", "out")
    assert resumed.stdout == "out goes on: 1 delivery due now\n"
    assert run("resume", "out").exit_code == 1


def in_the_journal(url: str, work: Callable[[Journal], Awaitable[object]]) -> None:
    """Do something to the journal as a service does it."""

    async def do() -> None:
        journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
        try:
            await work(journal)
        finally:
            journal.close()

    asyncio.run(do())


def test_what_is_made_due_says_what_it_waits_for(run: Run, tmp_path: Path) -> None:
    """A pause, an open breaker, a 429's hold, a lane, a rate, a vanished destination; else it is due now."""
    url = os.environ["RELAY_JOURNAL"]
    assert run("retry", "dlv_1_out").stdout == "1 delivery retried: due now\n"
    assert "dlv_2_out waits: behind 1 other of its lane, dlv_1_out first" in run("retry", "dlv_2_out").stdout
    assert "gone: gone is not in the file" in run("retry", "dlv_2_gone").stdout
    limited = CONFIG.replace("out: {", "out: {limits: {rate: 10/m}, ")
    (tmp_path / "relay.yaml").write_text(limited)
    assert run("retry", "dlv_1_out").stdout == "1 delivery retried\nout: due now, at most 10/m\n"
    in_the_journal(url, lambda journal: journal.hold("out", until=time.time() + 900))
    assert "\nout: it asked to wait (429) until 20" in run("retry", "dlv_1_out").stdout
    in_the_journal(url, lambda journal: journal.open_breaker("out", probe_at=time.time() + 900))
    replayed = run("replay", "evt_1", "--to", "out").stdout
    assert "1 delivery planned anew\nout: its breaker is open since 20" in replayed
    run("pause", "out", "--reason", "moving")
    assert "\nout: paused " in run("retry", "--destination", "out", "--yes").stdout
    assert run("ledger").exit_code == 0


def test_resume_tells_of_a_breaker_that_is_open(run: Run) -> None:
    """What is resumed does not go out before a probe is delivered, and resuming does not close it."""
    url = os.environ["RELAY_JOURNAL"]
    in_the_journal(url, lambda journal: journal.open_breaker("out", probe_at=time.time() + 900))
    alone = run("resume", "out")
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert "neither paused nor asked to wait; its breaker is open since" in alone.stderr
    run("pause", "out")
    told = run("resume", "out")
    assert told.exit_code == 0
    assert "out: 1 delivery may go on, but its breaker is open since" in told.stdout


def next_due(run: Run, destination: str) -> str:
    """What `status` says of a destination in its column NEXT DUE."""
    head, *rows = run("status").stdout.splitlines()
    (row,) = [line for line in rows if line.startswith(destination)]
    return row[head.index("NEXT DUE") :][: len("NEXT DUE")].strip()


def test_nothing_is_due_where_a_person_has_to_act_first(run: Run) -> None:
    """A paused destination has no next attempt, and one that left the file has none either."""
    assert next_due(run, "out") == "now"
    assert next_due(run, "gone") == ""
    run("pause", "out")
    assert next_due(run, "out") == ""


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_mistyped_destination_is_refused_with_those_that_exist(run: Run, command: str) -> None:
    """One that only the journal knows may be meant; one that nobody knows may not."""
    assert run(command, "gone").exit_code in {0, 1}
    result = run(command, "outt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "gone, more, out" in result.stderr


def test_cancel_lets_the_next_of_the_lane_go(run: Run) -> None:
    """It asks for what is meant, says how many, and promotes; cancelled again is the answer no."""
    assert run("cancel").exit_code == 2
    assert run("cancel", "--destination", "out", "--dry-run").stdout == (
        "would cancel 2 deliveries; nothing was changed\n"
    )
    assert run("cancel", "dlv_1_out").stdout == "1 delivery cancelled\n"
    assert run("cancel", "dlv_1_out").exit_code == 1
    assert "dlv_2_out" not in blocked(run)
    assert run("ledger").exit_code == 0


def test_reload_while_nobody_serves(run: Run, tmp_path: Path) -> None:
    """A good file is for the next start; a bad one is exit code 2 with its report, and nothing is asked."""
    assert run("reload").stdout == "nobody serves: the next start takes the file\n"
    (tmp_path / "relay.yaml").write_text(CONFIG.replace("[out, more]", "[out, moore]"))
    refused = run("reload")
    assert refused.exit_code == 2
    assert "more" in refused.stderr


def test_a_replay_goes_into_its_lane(run: Run) -> None:
    """By today's routes, to one destination, or as before: the order key decides, and the ledger balances."""
    for arguments in (["evt_1"], ["evt_1", "--reroute"], ["evt_1", "--to", "out"]):
        assert run("replay", *arguments).exit_code == 0
    listed = json.loads(run("deliveries", "--destination", "out", "--json").stdout)["deliveries"]
    assert [one["lane"] for one in listed] == ["lane one"] * 5
    assert len({one["key"] for one in listed if one["event_id"] == "evt_1"}) == 1
    assert run("ledger").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "--last", "5"], "--last goes with"),
        (["check", "--resolved", "--against-journal"], "exclude each other"),
        (["retry", "evt_1", "--rate", "moon"], "--rate 'moon'"),
        (["cancel", "--state", "delivered"], "only what is pending"),
    ],
)
def test_flags_that_make_no_sense_are_wrong_usage(run: Run, arguments: list[str], says: str) -> None:
    """One message on stderr and exit code 2."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def keys(targets: Sequence[replays.Target]) -> set[str | None]:
    """The idempotency keys of targets."""
    return {one.key for one in targets}


def test_every_way_to_replay_takes_the_first_key(tmp_path: Path) -> None:
    """Of several deliveries to one destination, the oldest one's key is what the downstream knows."""
    from relay import config  # noqa: PLC0415 - as the commands do

    (tmp_path / "relay.yaml").write_text(CONFIG)
    configuration = config.load(tmp_path / "relay.yaml", {})
    first = a_delivery(1, "more", key="first", created_at=1.0)
    second = a_delivery(1, "more", key="second", created_at=2.0, id="dlv_1_again")
    event = an_event(1)
    assert keys([replays.to_destination(event, [first, second], "more", configuration)]) == {"first"}
    assert keys(list(replays.again([second, first]))) == {"first"}
    assert keys(list(replays.again([first, second]))) == {"first"}
    rerouted = list(replays.rerouted(event, [first, second], configuration))
    assert keys([one for one in rerouted if one.destination == "more"]) == {"first"}
