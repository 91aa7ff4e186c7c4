"""`relay demo`: what a newcomer runs first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "relay", "demo"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The demo keeps all it makes in the folder for temporary files; here that is one of its own."""
    return {**os.environ, "TMPDIR": str(tmp_path), "RELAY_PORT": "1", "PYTHONUNBUFFERED": "1"}


def test_once_shows_every_event_delivered_after_a_failure(environ: dict[str, str], tmp_path: Path) -> None:
    """Five events, each refused at first and delivered then; exit code 0, and nothing is left behind."""
    done = subprocess.run(
        [*DEMO, "--once"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "challenge answered, nothing stored" in done.stdout
    assert len(re.findall(r"-> \w+ +delivered +#1 after \d+ms: 503, #2 after \d+ms: 200", done.stdout)) == 6
    assert "The ledger balances." in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_until_told_and_takes_its_service_along(
    number: signal.Signals, environ: dict[str, str], tmp_path: Path
) -> None:
    """Without --once it stays up, and its commands work; a signal ends it, its service and its files."""
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    heeding = ["env", "--default-signal=INT", *DEMO]
    with subprocess.Popen(heeding, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "stays up until Ctrl-C" in line:
                break
        (folder,) = tmp_path.iterdir()
        log = folder / "relay.log"
        pid = int(re.search(r'"pid": ?(\d+)', log.read_text())[1])  # type: ignore[index]
        os.kill(pid, 0)
        bare = [
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
            "sh",
            "-c",
            f". {folder}/environment.sh; relay events --json",
        ]
        listed = subprocess.run(bare, capture_output=True, text=True, check=False)
        process.send_signal(number)
        assert process.wait(30) in {0, 128 + number}
    assert listed.stderr == ""
    assert len(json.loads(listed.stdout)["events"]) == 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(tmp_path.iterdir()) == []
