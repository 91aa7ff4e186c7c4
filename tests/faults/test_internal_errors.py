"""An exception of Relay's own, thrown wherever something is written, costs no event and floods nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.journal import Reader
from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]

_BREAKER = '''
"""Throws into a function of the service while a file of its name is there."""
import functools
import os
from pathlib import Path

from relay.service import housekeeping
from relay.dispatch.attempt_runner import AttemptRunner
from relay.journal.writes import append, claim, settle
from relay.journal.sqlite import engine as sqlite
from relay.telemetry import Telemetry

FOLDER = Path(os.environ["BREAK"])


def breakable(holder, name, error=KeyError):
    before = getattr(holder, name)

    @functools.wraps(before)
    def call(*args, **named):
        if (FOLDER / name).exists():
            raise error(f"{name} is broken")
        return before(*args, **named)

    setattr(holder, name, call)


breakable(append, "event_row")
breakable(settle, "_record")
breakable(AttemptRunner, "settle")
breakable(claim, "due")
breakable(housekeeping.Chores, "_look")
breakable(Telemetry, "acknowledged")
breakable(sqlite, "last_seqs")
breakable(sqlite.SqliteEngine, "no_room", SystemExit)
'''


BESIDE = ("_record", "due", "_look", "last_seqs", "acknowledged")
"""What can fail while events are stored and delivered all the same."""


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    """Where a file of a function's name breaks it."""
    folder = tmp_path / "broken"
    folder.mkdir()
    return folder


@pytest.fixture
def relay(tmp_path: Path, switches: Path, receiver: Receiver, start_relay: StartRelay) -> RelayProcess:
    """A service in which functions can be broken."""
    (tmp_path / "sitecustomize.py").write_text(_BREAKER)
    config = f"""
sources: {{in: {{verify: none}}}}
destinations: {{plain: {{url: "{receiver.url}/plain", retry: {{first_wait: 100ms}}}}}}
routes: [{{source: in, to: plain}}]
"""
    broken = {"PYTHONPATH": str(tmp_path), "BREAK": str(switches)}
    return start_relay(config, env={**broken, "RELAY_TIME_SCALE": "0.1"})


def reported(relay: RelayProcess, name: str) -> list[str]:
    """The tracebacks of a broken function in the log."""
    return [
        line["traceback"] for line in relay.log("library.message") if f"{name} is broken" in line["message"]
    ]


def test_a_bug_is_reported_and_costs_no_event(
    relay: RelayProcess, switches: Path, receiver: Receiver
) -> None:
    """503 where nothing can be stored; sent once, or once too often; a dead thread ends the process."""
    (switches / "event_row").touch()
    refused = [relay.post("in") for _ in range(5)]
    assert {(one.status, one.header("retry-after")) for one in refused} == {(503, "5")}
    assert relay.get("/readyz").status == 503
    assert len(reported(relay, "event_row")) == 1
    (switches / "event_row").unlink()
    relay.wait_ready()

    for name in BESIDE:
        (switches / name).touch()
    ids = [relay.post("in").json()["id"] for _ in range(3)]
    eventually(
        lambda: all(reported(relay, name) for name in BESIDE),
        describe=relay.output,
    )
    for name in BESIDE:
        assert len(reported(relay, name)) == 1, name
        (switches / name).unlink()
    assert relay.get("/readyz").status == 200

    (switches / "settle").touch()
    ids.append(relay.post("in").json()["id"])
    relay.wait_log("delivery.dead", reason="poison")
    sent = [(request.header("Relay-Event-Id") or b"").decode() for request in receiver.requests]
    assert sorted(sent) == sorted([*ids, ids[-1]])
    (switches / "settle").unlink()
    with Reader.open(relay.journal) as reader:
        assert reader.ledger().balanced

    (switches / "no_room").touch()
    ended = relay.wait_exit()
    assert ended.code == 1
    assert relay.log("journal.unavailable")
    assert "SystemExit" in relay.log("library.message")[-1]["traceback"]
