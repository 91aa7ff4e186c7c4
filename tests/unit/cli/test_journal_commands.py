"""The commands that read and mend, on a real journal with a story in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relay.cli.app import app
from relay.journal import Entry, Journal, Settlement
from relay.model import Attempt, Delivery, DeliveryState, Event, EventState, Outcome
from relay.process.clock import Clock
from tests.support.journals import prepare

CONFIG = """\
sources:
  github: {verify: {scheme: none}}
destinations:
  billing: {url: "https://billing.example.com"}
  chat: {url: "https://chat.example.com"}
  archive: {url: "https://archive.example.com"}
routes:
  - {name: today, source: github, to: [archive, billing]}
"""

Run = Callable[..., Result]


def an_event(number: int, *, now: float, **changes: Any) -> Event:
    """One event of the story."""
    values: dict[str, Any] = {
        "id": f"evt_{number}",
        "source": "github",
        "type": "push",
        "provider_id": f"guid-{number}",
        "received_at": now,
        "method": "POST",
        "path": "/github",
        "query": b"",
        "headers": ((b"content-type", b"application/json"),),
        "body": b'{"number":%d}' % number,
        "remote": None,
    }
    return Event(**(values | changes))


def a_delivery(event: Event, destination: str, *, now: float) -> Delivery:
    """A delivery of an event, due at once."""
    identity = f"dlv_{event.id[4:]}_{destination}"
    return Delivery(
        id=identity,
        event_id=event.id,
        source=event.source,
        route="all",
        destination=destination,
        key=f"key-{identity}",
        created_at=now,
        age_from=now,
        due_at=now,
    )


async def tell_the_story(url: str) -> None:
    """Event 1 is delivered to chat and dead at billing, event 2 waits for billing, 3 went nowhere."""
    journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
    try:
        now = time.time()
        for number in (1, 2):
            event = an_event(number, now=now)
            names = ("billing", "chat") if number == 1 else ("billing",)
            await journal.append(
                Entry(event=event, deliveries=tuple(a_delivery(event, name, now=now) for name in names))
            )
            if number == 1:
                await settle(journal, "billing", DeliveryState.DEAD, 410)
                await settle(journal, "chat", DeliveryState.DELIVERED, 200)
        nowhere = an_event(3, now=now, state=EventState.FILTERED, reason="no_match", type="\x1b[2Jevil")
        await journal.append(Entry(event=nowhere))
    finally:
        journal.close()


async def one_more(url: str) -> None:
    """One event more that waits for billing."""
    journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
    try:
        now = time.time()
        event = an_event(4, now=now)
        await journal.append(Entry(event=event, deliveries=(a_delivery(event, "billing", now=now),)))
    finally:
        journal.close()


async def settle(journal: Journal, destination: str, state: DeliveryState, status: int) -> None:
    """Claim what is due for a destination and end it."""
    (claim,) = await journal.claim(destination, 1, suspect=False)
    delivered = state is DeliveryState.DELIVERED
    attempt = Attempt(
        delivery_id=claim.delivery.id,
        number=claim.delivery.attempts,
        started_at=time.time(),
        duration=0.01,
        outcome=Outcome.DELIVERED if delivered else Outcome.HTTP_STATUS,
        node=journal.node,
        status=status,
        error=None if delivered else f"HTTP {status}",
        response=b"gone \x1b[31mfor good",
    )
    assert await journal.settle(
        Settlement(
            delivery=claim.delivery,
            attempt=attempt,
            state=state,
            due_at=None,
            finished=1,
            reason=None if delivered else "give_up_on",
        )
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed journal that has the story in it, to be copied."""
    folder = tmp_path_factory.mktemp("told")
    asyncio.run(tell_the_story(prepare(folder / "relay.db")))
    return folder


@pytest.fixture
def run(told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against a journal with the story in it, and today's file."""
    config = tmp_path / "relay.yaml"
    config.write_text(CONFIG)
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    for name in ("relay.db", "relay.db.mark"):
        shutil.copy(told / name, tmp_path / name)
    monkeypatch.setenv("RELAY_CONFIG", str(config))
    monkeypatch.setenv("RELAY_JOURNAL", url)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return command


def document(result: Result) -> Any:
    """The one JSON document that a command printed."""
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.mark.parametrize("identifier", ["evt_1", "guid-1", "dlv_1_billing"])
def test_show_tells_the_story_by_any_id(run: Run, identifier: str) -> None:
    """The event's, a delivery's and the provider's own id lead to the same timeline."""
    result = run("show", identifier)
    assert result.exit_code == 0
    assert "evt_1  github  push" in result.stdout
    assert "http_status 410" in result.stdout
    assert r"gone \x1b[31mfor good" in result.stdout
    assert "`relay retry dlv_1_billing`, or `relay cancel dlv_1_billing`" in result.stdout
    assert "-> chat  delivered" in result.stdout


def test_show_has_headers_and_bodies_on_demand(run: Run) -> None:
    """Of the event, and of the request to each destination; in JSON too."""
    result = run("show", "evt_1", "--headers", "--body")
    assert result.exit_code == 0
    assert "content-type: application/json" in result.stdout
    assert '\n    {"number":1}\n' in result.stdout
    assert "request by today's file: POST https://billing.example.com" in result.stdout
    (event,) = document(run("show", "evt_1", "--json", "--body"))["events"]
    assert {one["request"]["url"] for one in event["deliveries"]} == {
        "https://billing.example.com",
        "https://chat.example.com",
    }
    assert "request" not in run("show", "evt_1").stdout


def test_show_as_json_has_each_attempt(run: Run) -> None:
    """Programs get the same story."""
    (event,) = document(run("show", "evt_1", "--json"))["events"]
    states = {one["destination"]: one["state"] for one in event["deliveries"]}
    assert states == {"billing": "dead", "chat": "delivered"}
    assert [len(one["history"]) for one in event["deliveries"]] == [1, 1]


def test_show_of_what_is_not_there_is_no(run: Run) -> None:
    """An unknown id is exit code 1 and one line on stderr."""
    result = run("show", "evt_nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "evt_nobody" in result.stderr


def test_events_are_listed_newest_first_in_pages(run: Run) -> None:
    """A page names where the next begins, and the pages together are the list."""
    first = document(run("events", "--json", "--limit", "2"))
    second = document(run("events", "--json", "--limit", "2", "--before", first["next_before"]))
    assert [one["id"] for one in first["events"] + second["events"]] == ["evt_3", "evt_2", "evt_1"]
    assert second["next_before"] is None


@pytest.mark.parametrize("listing", ["events", "deliveries"])
def test_a_page_before_nothing_is_wrong_usage(run: Run, listing: str) -> None:
    """A mistyped --before is said, not taken for the end of the list."""
    result = run(listing, "--before", "evt_nobody")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "evt_nobody" in result.stderr


def test_a_hostile_type_is_inert_in_a_listing(run: Run) -> None:
    """What the sender wrote stands in the table as text."""
    result = run("events", "--state", "filtered")
    assert r"\x1b[2Jevil" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--state", "dead"], {"dlv_1_billing"}),
        (["--status", "410"], {"dlv_1_billing"}),
        (["--status", "delivered"], {"dlv_1_chat"}),
        (["--destination", "billing"], {"dlv_1_billing", "dlv_2_billing"}),
        (["--route", "all", "--state", "pending"], {"dlv_2_billing"}),
        (["--since", "1h", "--source", "github"], {"dlv_1_billing", "dlv_1_chat", "dlv_2_billing"}),
        (["--until", "1h"], set()),
    ],
)
def test_deliveries_are_found_by_filters(run: Run, filters: list[str], ids: set[str]) -> None:
    """Each filter narrows the list to what it names."""
    found = document(run("deliveries", "--json", *filters))["deliveries"]
    assert {one["id"] for one in found} == ids


def test_deliveries_are_counted_by_error(run: Run) -> None:
    """`--group-by error` answers what is wrong, where, and how often."""
    (group,) = document(run("deliveries", "--state", "dead", "--group-by", "error", "--json"))["groups"]
    assert (group["destination"], group["count"]) == ("billing", 1)


def test_status_and_ledger_agree_with_the_story(run: Run) -> None:
    """One dead and one pending at billing, one delivered at chat; the ledger balances."""
    status = document(run("status", "--json"))
    billing = next(one for one in status["destinations"] if one["name"] == "billing")
    assert (billing["pending"], billing["dead"], billing["delivered"]) == (1, 1, 0)
    rates = {one["name"]: one["delivered_per_second"] for one in status["destinations"]}
    assert rates == {"billing": 0, "chat": pytest.approx(1 / 60)}
    ledger = run("ledger", "--json")
    assert ledger.exit_code == 0
    assert document(ledger)["balanced"] is True
    (chat,) = (line for line in run("status").stdout.splitlines() if line.startswith("chat "))
    assert chat.split()[-1] == "1/m"
    assert "The ledger balances." in run("ledger").stdout


def test_the_ledger_names_what_waits_for_a_destination_that_left_the_file(run: Run, tmp_path: Path) -> None:
    """A pending delivery is due, or the ledger says what it waits for."""
    assert document(run("ledger", "--json"))["waiting"] == {"due_now": 1}
    without = CONFIG.replace('  billing: {url: "https://billing.example.com"}\n', "")
    (tmp_path / "relay.yaml").write_text(without.replace(", billing", ""))
    assert document(run("ledger", "--json"))["waiting"] == {"destination_gone": 1}
    assert "not in the file (any more): 1" in run("ledger").stdout


def test_retry_makes_a_dead_delivery_due_again_under_its_key(run: Run) -> None:
    """The same delivery and key; a second retry of what is due finds nothing to change."""
    result = run("retry", "dlv_1_billing")
    assert (result.exit_code, result.stderr) == (0, "")
    (found,) = document(run("deliveries", "--json", "--search", "guid-1", "--state", "pending"))["deliveries"]
    assert (found["id"], found["key"]) == ("dlv_1_billing", "key-dlv_1_billing")
    assert run("ledger").exit_code == 0


def test_retry_of_what_arrived_names_the_command_that_sends_it_anew(run: Run) -> None:
    """A delivered delivery is not retried; the message says what would."""
    result = run("retry", "dlv_1_chat")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "`relay replay`" in result.stderr


@pytest.mark.parametrize("arguments", [["dlv_1_billing"], ["evt_1"], ["--state", "dead"]], ids=" ".join)
def test_a_dead_delivery_can_be_dismissed(run: Run, arguments: list[str]) -> None:
    """By its id, its event's, or with all that are dead; it is dead no more, and says that it was."""
    assert run("cancel", "--destination", "billing", "--dry-run").stdout.startswith(
        "would cancel 1 delivery;"
    )
    result = run("cancel", *arguments)
    assert (result.exit_code, result.stdout) == (0, "1 delivery cancelled\n"), result.output
    told = document(run("status", "--json"))["destinations"]
    assert {one["name"]: one["dead"] for one in told}["billing"] == 0
    assert "it was dead before: `give_up_on` lists its status" in run("show", "evt_1").stdout
    assert run("ledger").exit_code == 0
    assert run("cancel", *arguments).exit_code == 1
    assert run("retry", *arguments).exit_code == 1


def test_retry_of_many_says_how_many_first_and_dry_run_changes_nothing(run: Run) -> None:
    """The number stands before the change; a dry run stops there."""
    dry = run("retry", "--destination", "billing", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "would retry 2 deliveries; nothing was changed\n")
    assert len(document(run("deliveries", "--json", "--state", "dead"))["deliveries"]) == 1
    wet = run("retry", "--destination", "billing", "--yes")
    assert (wet.exit_code, wet.stdout) == (0, "2 deliveries retried: due now\n")
    assert "retry: 2 deliveries" in wet.stderr
    assert document(run("deliveries", "--json", "--state", "dead"))["deliveries"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry", "--source", "github"],
        ["replay", "--source", "github"],
        ["cancel", "--since", "1h"],
        ["journal", "purge", "--before", "2099-01-01T00:00Z", "--state", "filtered", "--state", "dead"],
    ],
    ids=" ".join,
)
def test_many_by_a_filter_are_refused_where_nobody_can_be_asked(run: Run, arguments: list[str]) -> None:
    """Without a terminal and without --yes, nothing is changed; the answer says how many, and what to add."""
    asyncio.run(one_more(os.environ["RELAY_JOURNAL"]))
    before = document(run("ledger", "--json"))
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(r"the filter finds [234] (deliveries|events), .*add --yes", result.stderr)
    assert document(run("ledger", "--json")) == before
    assert run(*arguments, "--yes").exit_code == 0


def test_many_that_are_named_need_no_yes(run: Run) -> None:
    """Who writes the ids knows how many."""
    result = run("retry", "dlv_1_billing", "dlv_2_billing")
    assert (result.exit_code, result.stdout) == (0, "2 deliveries retried: due now\n")
    assert "retry: 2 deliveries" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry", "evt_nobody"],
        ["retry", "dlv_1_chat"],
        ["replay", "evt_1", "evt_nobody"],
        ["replay", "evt_3"],
    ],
)
def test_nothing_to_change_is_no(run: Run, arguments: list[str]) -> None:
    """An unknown id, or nothing that can be sent again, is exit code 1, and nothing is changed."""
    before = document(run("deliveries", "--json"))
    assert run(*arguments).exit_code == 1
    assert document(run("deliveries", "--json")) == before


@pytest.mark.parametrize(
    "arguments",
    [["deliveries"], ["deliveries", "--group-by", "error"], ["events"], ["retry"], ["cancel"], ["replay"]],
    ids=" ".join,
)
def test_a_mistyped_name_is_told_from_one_that_has_nothing(run: Run, arguments: list[str]) -> None:
    """Where a filter finds nothing, a name that the journal has never seen is said to be none of its own."""
    said = run(*arguments, "--destination", "biling", "--source", "github").stderr
    assert "the journal knows no destination 'biling'; it has: " in said
    assert "billing" in said
    assert "no source" not in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evt_1"], {("billing", "all", "key-dlv_1_billing"), ("chat", "all", "key-dlv_1_chat")}),
        (["dlv_1_chat"], {("chat", "all", "key-dlv_1_chat")}),
        (["evt_1", "--to", "chat"], {("chat", "all", "key-dlv_1_chat")}),
        (["evt_1", "--to", "archive"], {("archive", "replay", None)}),
        (["dlv_1_chat", "--new-key"], {("chat", "all", None)}),
        (["guid-1", "--reroute"], {("archive", "today", None), ("billing", "today", "key-dlv_1_billing")}),
        (["evt_3", "--reroute"], {("archive", "today", None), ("billing", "today", None)}),
        (["--state", "filtered", "--to", "chat"], {("chat", "replay", None)}),
    ],
)
def test_replay_plans_new_deliveries(
    run: Run, arguments: list[str], expected: set[tuple[str, str, str | None]]
) -> None:
    """Where each goes, by which route, under which key (None: one of its own); the ledger balances."""
    before = {one["id"] for one in document(run("deliveries", "--json"))["deliveries"]}
    result = run("replay", *arguments)
    assert result.exit_code == 0, result.output
    after = document(run("deliveries", "--json"))["deliveries"]
    new = [one for one in after if one["id"] not in before]
    keys = {
        (one["destination"], one["route"], None if one["key"] == one["id"] else one["key"]) for one in new
    }
    assert (keys, len(new)) == (expected, len(expected))
    assert {one["state"] for one in new} == {"pending"}
    assert run("ledger").exit_code == 0


def test_what_depends_on_a_variable_that_is_not_set_here_is_not_guessed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`explain` says so in place of a fate, and `replay --reroute` sends nothing."""
    monkeypatch.delenv("WHERE", raising=False)
    written = CONFIG.replace("name: today,", """name: today, when: 'headers["x-a"] == "${WHERE}"',""")
    (tmp_path / "relay.yaml").write_text(written)
    assert "a variable that is not set here" in run("explain", "evt_1").stdout
    refused = run("replay", "evt_1", "--reroute")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "variables that are not set here: today" in refused.stderr
    monkeypatch.setenv("WHERE", "there")
    assert run("replay", "evt_1", "--reroute").exit_code == 1


def test_a_replay_of_what_was_filtered_names_the_way(run: Run) -> None:
    """It went nowhere, so that nothing can be repeated; by its id or by a filter."""
    for chosen in (["evt_3"], ["--state", "filtered"]):
        result = run("replay", *chosen)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "--reroute" in result.stderr


def test_a_retry_of_what_cannot_be_rendered_says_to_mend_the_file_first(run: Run) -> None:
    """It would die of the same again."""
    with contextlib.closing(sqlite3.connect(os.environ["RELAY_JOURNAL"].removeprefix("sqlite:///"))) as hand:
        hand.execute("UPDATE delivery SET reason = 'transform_error' WHERE id = 'dlv_1_billing'")
        hand.commit()
    assert "mend the file and `relay reload`, then `relay retry dlv_1_billing`" in run("show", "evt_1").stdout
    result = run("retry", "dlv_1_billing")
    assert (result.exit_code, result.stdout) == (0, "1 delivery retried: due now\n")
    assert "of route all could not be rendered" in result.stderr
    assert "mend the file and `relay reload` first" in result.stderr


def test_replay_to_a_destination_that_is_not_in_the_file_is_wrong_usage(run: Run) -> None:
    """A mistyped destination would wait for ever: it is refused, with those that exist."""
    result = run("replay", "evt_1", "--to", "biling")
    assert result.exit_code == 2
    assert "billing" in result.stderr


def test_purge_says_how_many_first_and_removes_what_was_named(run: Run) -> None:
    """A dead one goes only where that is asked for, what is pending never; none left is a no."""
    result = run("journal", "purge", "--before", "2099-01-01T00:00Z", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "would purge 1 event; nothing was changed\n")
    result = run("journal", "purge", "--before", "2099-01-01T00:00Z")
    assert (result.exit_code, result.stdout) == (0, "1 event purged, 0 deliveries with them\n")
    assert run("journal", "purge", "--before", "2099-01-01T00:00Z").exit_code == 1
    result = run("journal", "purge", "--before", "2099-01-01T00:00Z", "--state", "dead", "--yes")
    assert (result.exit_code, result.stdout) == (0, "1 event purged, 2 deliveries with them\n")
    assert [one["id"] for one in document(run("events", "--json"))["events"]] == ["evt_2"]
    assert run("ledger").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("purge",), "--before"),
        (("purge", "--before", "soon"), "neither so long ago"),
        (("purge", "--before", "1d", "--state", "pending"), "what is pending stays"),
        (("copy", "sqlite:///a.db", "sqlite:///b.db"), "from SQLite to PostgreSQL"),
        (("upgrade", "--journal", "sqlite:////nowhere/at/all.db"), "no journal at /nowhere/at/all.db"),
    ],
)
def test_a_journal_command_that_makes_no_sense_is_wrong_usage(
    run: Run, arguments: tuple[str, ...], says: str
) -> None:
    """It ends with 2 and says what to do."""
    result = run("journal", *arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.output


def test_upgrade_of_a_journal_that_is_up_to_date_says_so(run: Run) -> None:
    """Nothing is done twice."""
    result = run("journal", "upgrade")
    assert (result.exit_code, result.stdout) == (0, "nothing to do: the tables are at version 3\n")
