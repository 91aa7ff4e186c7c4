"""What a database has lost that was put back to an earlier state, each command says until it is accepted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relay.cli.app import app
from relay.journal import Journal, Loss
from relay.process.clock import Clock
from tests.support.journals import prepare

Run = Callable[..., Result]

LOSS = Loss(id="1a2b3c4d", slots={0: 1_000, 2: 250}, since=1_700_000_000.0, seen_at=1_700_000_600.0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands on a journal that has lost events."""
    url = prepare(tmp_path / "relay.db")
    Journal.open(url, clock=Clock()).close()
    monkeypatch.setenv("RELAY_JOURNAL", url)
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "none.yaml"))
    hand = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    hand.execute("INSERT INTO meta VALUES (?, ?)", (LOSS.key, LOSS.value))
    hand.close()
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def losses(result: Result) -> Any:
    """The losses of a command's JSON."""
    return json.loads(result.stdout)["losses"]


def test_doctor_status_and_ledger_say_how_many_are_gone_and_since_when(run: Run) -> None:
    """The ledger's exit code is 1, though its books balance."""
    told = [
        {
            "id": "1a2b3c4d",
            "events": 1250,
            "since": "2023-11-14T22:13:20.000Z",
            "seen_at": "2023-11-14T22:23:20.000Z",
        }
    ]
    ledger, doctor = run("ledger", "--json"), run("doctor", "--json")
    assert (ledger.exit_code, losses(ledger), losses(run("status", "--json"))) == (1, told, told)
    assert "AT LEAST 1,250 ACKNOWLEDGED EVENTS" in run("ledger").stdout
    assert "AT LEAST 1,250 ACKNOWLEDGED EVENTS" in run("status").stdout
    assert doctor.exit_code == 1
    (finding,) = (one for one in json.loads(doctor.stdout)["findings"] if one["about"] == "losses")
    assert "at least 1,250 events that were acknowledged are gone" in finding["says"]
    assert "taken after 2023-11-14 22:13:20Z" in finding["says"]
    assert "relay journal accept-loss 1a2b3c4d" in finding["do"]


def test_a_loss_is_accepted_by_its_id_and_by_a_person(run: Run) -> None:
    """Without a terminal `--yes` is that word; nothing speaks of it any more."""
    refused = run("journal", "accept-loss", "1a2b3c4d")
    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    assert run("journal", "accept-loss", "5e6f7a8b", "--yes").exit_code == 1
    accepted = run("journal", "accept-loss", "1a2b3c4d", "--yes")
    assert (accepted.exit_code, accepted.stdout.splitlines()[-1]) == (0, "accepted: 1,250 events lost")
    ledger = run("ledger", "--json")
    assert (ledger.exit_code, losses(ledger)) == (0, [])
    assert run("journal", "accept-loss", "1a2b3c4d", "--yes").exit_code == 1
