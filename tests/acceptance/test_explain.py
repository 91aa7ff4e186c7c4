"""Operators ask why an event went where it went, and what an edit of the file would change."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]


@pytest.fixture
def relay(receiver: Receiver, start_relay: StartRelay) -> RelayProcess:
    """A service with routes of every fate, expressions in every place."""
    return start_relay(
        f"""
sources:
  in: {{verify: none, path: "/in/{{site}}", dedup: {{key: "lower(body.id)", window: 1h}}}}
destinations:
  paged: {{url: "{receiver.url}/paged/{{{{ body.id }}}}", order: {{key: body.customer}}}}
  told: {{url: "{receiver.url}/told"}}
  rest: {{url: "{receiver.url}/rest"}}
routes:
  - name: page
    source: in
    when: ['path.site == "berlin"', 'split(body.labels, ",").exists(l, l == "urgent")']
    to: paged
  - name: tell
    source: in
    when: body.severity > 3
    to: told
    stop: true
    transform:
      json:
        title: "{{{{ upper(body.title) }}}}"
        n: "{{{{ body.severity }}}}"
        id: "{{{{ sha256(body.id) }}}}"
      headers: {{X-Site: "{{{{ path.site }}}}"}}
  - name: rest
    source: in
    to: rest
"""
    )


LOUD = '{"id": "A1", "customer": "c", "labels": "new,urgent", "severity": 5, "title": "fire"}'
QUIET = '{"id": "B2", "labels": "new", "severity": 1, "title": "hum"}'
BROKEN = '{"id": "C3", "labels": 7}'


def test_expressions_decide_in_the_running_service(receiver: Receiver, relay: RelayProcess) -> None:
    """A list of `when`, dedup and order keys, holes in JSON, headers and URL, and the extra functions."""
    relay.post("in/berlin", LOUD)
    assert relay.post("in/berlin", LOUD).json()["duplicate"] is True
    by_path = {one.path: one for one in receiver.wait(2)}
    assert set(by_path) == {"/paged/A1", "/told"}
    told = by_path["/told"]
    assert told.body.startswith(b'{"title":"FIRE","n":5,"id":"')
    assert told.header("x-site") == b"berlin"
    paged = next(one for one in relay.cli("deliveries", "--json").json()["deliveries"] if one["lane"])
    assert (paged["destination"], paged["lane"]) == ("paged", "c")


def test_explain_names_each_route_and_the_reason(relay: RelayProcess) -> None:
    """Matched, not and why, the error, and what `stop` hides; for people and for programs."""
    ids = [relay.post("in/berlin", body).json()["id"] for body in (LOUD, QUIET, BROKEN)]
    loud = relay.cli("explain", ids[0]).out
    assert "hidden       rest: an earlier route matched and says stop" in loud
    assert 'order key "c"' in loud
    quiet = relay.cli("explain", ids[1]).out
    assert '(number 2 of its list) is false (body.labels is "new")' in quiet
    assert "`body.severity > 3` is false (body.severity is 1)" in quiet
    assert "matched      rest: it has no `when`" in quiet
    broken = relay.cli("explain", ids[2]).out
    assert "error        page:" in broken
    assert "missing: body.severity" in broken
    (told,) = relay.cli("explain", ids[2], "--json").json()["events"]
    assert [one["fate"] for one in told["routes"]] == ["error", "error", "matched"]
    assert told["added"] == told["removed"] == []
    errors = relay.wait_log("route.error", 2, event_id=ids[2])
    assert {line["route"] for line in errors} == {"page", "tell"}
    assert relay.cli("explain", "evt_none", check=False).code == 1


def test_a_transform_that_fails_is_seen_everywhere_and_is_no_500(
    receiver: Receiver, relay: RelayProcess
) -> None:
    """The sender gets 202; log, `show` and `explain` name what was missing."""
    answer = relay.post("in/berlin", '{"id": "D4", "severity": 9}')
    assert answer.status == 202
    (dead,) = relay.wait_log("delivery.dead")
    assert (dead["outcome"], dead["error"]) == ("transform_error", "missing: body.title")
    event = answer.json()["id"]
    assert "missing: body.title" in relay.cli("show", event).out
    assert "cannot be rendered, and would be dead: missing: body.title" in relay.cli("explain", event).out


def test_a_planned_edit_is_shown_as_a_diff(relay: RelayProcess, tmp_path: Path) -> None:
    """`check --against-journal` says what of each event would go elsewhere, and sums it up."""
    ids = [relay.post("in/berlin", body).json()["id"] for body in (LOUD, QUIET)]
    assert "0 would go elsewhere" in relay.cli("check", "--against-journal").out
    edited = tmp_path / "edited.yaml"
    text = relay.config.read_text()
    edited.write_text(text.replace("body.severity > 3", "body.severity > 0").replace("name: page", "name: x"))
    plan = relay.cli("check", "--against-journal", "--config", str(edited)).out
    assert ids[0] not in plan
    lines = plan.splitlines()
    assert lines[0].startswith(f"@ {ids[1]}")
    assert lines[1:3] == ["- rest  (went by rest)", "+ told  (by tell)"]
    assert "Of the last 2 events, 1 would go elsewhere than before." in plan
    assert "+1 told" in plan
    assert "Of the last 1 event," in relay.cli("check", "--against-journal", "--last", "1").out
    explained = relay.cli("explain", ids[1], "--config", str(edited)).out
    assert "it went to rest by rest, and would not" in explained
    assert relay.cli("ledger").code == 0


def test_pause_retry_cancel_and_resume(receiver: Receiver, start_relay: StartRelay) -> None:
    """A pause keeps events, visibly; what waits can be cancelled; the rest goes out when it is resumed."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    assert "is paused" in relay.cli("pause", "out", "--reason", "moving house").out
    assert relay.cli("pause", "out", check=False).code == 1
    assert relay.cli("pause", "outt", check=False).code == 2
    relay.wait_log("destination.paused", destination="out")
    ids = [relay.post("in", str(number)).json()["id"] for number in range(3)]
    assert "moving house" in relay.cli("status").out
    assert "moving house" in relay.cli("show", ids[0]).out
    assert "their destination is paused: 3" in relay.cli("ledger").out
    assert len(relay.cli("deliveries", "--blocked", "--json").json()["deliveries"]) == 3
    assert "would cancel 1" in relay.cli("cancel", ids[0], "--dry-run").out
    assert "1 delivery cancelled" in relay.cli("cancel", ids[0]).out
    assert relay.cli("cancel", ids[0], check=False).code == 1
    assert "2 deliveries due now" in relay.cli("resume", "out").out
    assert relay.cli("resume", "out", check=False).code == 1
    assert sorted(one.body for one in receiver.wait(2)) == [b"1", b"2"]
    relay.wait_log("attempt.finished", 2, decision="delivered")
    eventually(lambda: relay.cli("ledger").code == 0)
    assert (
        relay.cli("deliveries", "--state", "cancelled", "--json").json()["deliveries"][0]["event_id"]
        == ids[0]
    )


def test_a_lane_that_a_dead_one_holds_says_what_to_do(receiver: Receiver, start_relay: StartRelay) -> None:
    """`show` of those behind names the dead one and both ways out; cancelling it lets them go."""
    receiver.script(500)
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations:
  out: {{url: "{receiver.url}/", order: {{key: '"one"', on_dead: hold}}, retry: {{max_attempts: 1}}}}
routes: [{{source: in, to: out}}]
"""
    )
    first = relay.post("in", "1").json()["id"]
    (dead,) = relay.wait_log("delivery.dead")
    second = relay.post("in", "2").json()["id"]
    told = relay.cli("show", second).out
    assert f"its lane is held by {dead['delivery_id']}" in told
    assert "relay retry" in told
    assert "its lane waits for it" in relay.cli("show", first).out
    assert "1 lane held by a dead one" in relay.cli("status").out
    assert "in lanes that a dead one holds" in relay.cli("ledger").out
    relay.cli("cancel", first)
    assert receiver.wait(2)[1].body == b"2"


def test_a_rate_spreads_what_an_operator_sends(receiver: Receiver, start_relay: StartRelay) -> None:
    """Of twenty at 10/s, two at a time, the last is planned 1.6 s after the command began at the earliest."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    for number in range(20):
        relay.post("in", str(number))
    receiver.wait(20)
    relay.wait_log("attempt.finished", 20)
    began = time.time()
    assert (
        "20 deliveries planned anew" in relay.cli("replay", "--source", "in", "--rate", "10/s", "--yes").out
    )
    receiver.wait(40)
    newest = relay.cli("deliveries", "--json", "--limit", "1").json()["deliveries"][0]
    assert datetime.fromisoformat(newest["created_at"]).timestamp() >= began + 1.6
    assert relay.cli("retry", "--source", "in", "--rate", "moon", check=False).code == 2
    assert len({one.header("idempotency-key") for one in receiver.requests}) == 20
