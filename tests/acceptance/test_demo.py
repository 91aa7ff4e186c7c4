"""`relay demo`: what a newcomer runs first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import eventually, forked

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


@contextmanager
def staying(environ: dict[str, str], folder: Path, line: str) -> Iterator[tuple[forked.Forked, int]]:
    """A demo without --once that has printed this line, and the id of its service."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as empty:

        def printed() -> str:
            return os.pread(output.fileno(), 1 << 20, 0).decode()

        streams = {"stdin": empty.fileno(), "stdout": output.fileno(), "stderr": output.fileno()}
        demo = forked.template().start(("demo",), environ=environ, folder=folder, **streams)
        try:
            eventually(lambda: line in printed(), timeout=60, describe=printed)
            (made,) = folder.iterdir()
            service = int(re.search(r'"pid": ?(\d+)', (made / "relay.log").read_text())[1])  # type: ignore[index]
            os.kill(service, 0)
            yield demo, service
        finally:
            if demo.poll() is None:
                os.kill(demo.pid, signal.SIGTERM)
                demo.wait(30)


def test_it_stays_until_ctrl_c_and_takes_its_service_along(environ: dict[str, str], tmp_path: Path) -> None:
    """Without --once it stays up, and its commands work; Ctrl-C ends it, its service and its files."""
    with staying(environ, tmp_path, "stays up until Ctrl-C") as (demo, service):
        (folder,) = tmp_path.iterdir()
        command = f". {folder}/environment.sh; relay events --json"
        bare = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", command]
        listed = subprocess.run(bare, capture_output=True, text=True, check=False)
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(30) == 0
    assert listed.stderr == ""
    assert len(json.loads(listed.stdout)["events"]) == 5
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_sigterm_ends_it_and_takes_its_service_along(environ: dict[str, str], tmp_path: Path) -> None:
    """Also in the middle of what it shows."""
    with staying(environ, tmp_path, "Relay listens on") as (demo, service):
        os.kill(demo.pid, signal.SIGTERM)
        assert demo.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)
    assert list(tmp_path.iterdir()) == []
