"""A process stopped while it holds the journal's lock is named; one that the terminal stops holds none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay.cli.app import app
from relay.errors import JournalUnavailable
from relay.journal import Journal, Reader
from relay.process.lock_holder import holders
from tests.journal.making import Told, make_entry, only, opened, path_of
from tests.support import eventually

pytestmark = only("sqlite", "PostgreSQL's locks are its server's")

_HOLDS = """
import sys
from pathlib import Path
from relay.journal.sqlite.locks import FileLock

with FileLock(Path(sys.argv[1]), patience=20).held():
    print("holds", flush=True)
    sys.stdin.read()
"""

_RETRIES = """
import asyncio, sys
from relay.cli.open import writing

with writing(sys.argv[1]) as journal:
    while True:
        asyncio.run(journal.retry(sys.argv[2:]))
        print("again", flush=True)
"""


@contextlib.contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has said its first line, in a process group of its own, as a shell gives it."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[bytes], by: signal.Signals) -> None:
    """Send it a signal that stops it, and wait until it is stopped."""
    process.send_signal(by)
    stat = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def lock_of(url: str) -> Path:
    """The file that is locked around each batch."""
    return path_of(url).with_name("relay.db.lock")


async def test_a_stopped_holder_is_named_wherever_one_looks(
    journal: Journal, hooks: Told, reader: Reader, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the log, by the reason of the outage and by the status; with what to do."""
    await journal.append(make_entry("billing"))
    with running(_HOLDS, str(lock_of(engine))) as process:
        stop(process, signal.SIGSTOP)
        name = f"process {process.pid} on {socket.gethostname()} (-c), which is stopped: let it go on"
        with pytest.raises(JournalUnavailable, match="is held for over 2 s by"):
            await journal.append(make_entry("billing"))
        assert name in hooks.troubles[0]
        assert f"held for over 1 s by {name}" in caplog.text
        assert name in str(reader.refusal())
        told = CliRunner().invoke(app, ["status", "--journal", engine])
        assert told.output.startswith("THE JOURNAL TAKES NO EVENTS: ")
        assert name in told.output
    async with asyncio.timeout(20):
        while not journal.available:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)
    assert reader.refusal() is None


async def test_who_holds_sqlites_own_lock_is_named(journal: Journal, hooks: Told, engine: str) -> None:
    """Some other program may be in a transaction, which knows nothing of Relay's lock."""
    program = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.read()
"""
    with (
        running(program, str(path_of(engine))) as process,
        pytest.raises(JournalUnavailable, match=f"database is locked for over 2 s by process {process.pid} "),
    ):
        await journal.append(make_entry("billing"))


async def test_the_terminal_stops_a_command_between_two_batches(engine: str) -> None:
    """Ctrl-Z at any moment of a long command leaves the lock to the service."""
    with opened(engine) as journal:
        entries = [make_entry("billing") for _ in range(300)]
        await asyncio.gather(*(journal.append(one) for one in entries))
        ids = [one.deliveries[0].id for one in entries]
        chance = random.Random(48)
        with running(_RETRIES, engine, *ids) as process:
            assert process.stdout is not None
            for number in range(6):
                await asyncio.sleep(chance.uniform(0, 0.05))  # anywhere in a batch
                by = (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)[number % 3]
                await asyncio.to_thread(stop, process, by)
                assert process.pid not in holders(lock_of(engine))
                assert process.pid not in holders(lock_of(engine).with_name("relay.db.lock.next"))
                await journal.append(make_entry("billing"))
                os.kill(process.pid, signal.SIGCONT)
                assert await asyncio.to_thread(process.stdout.readline) == b"again\n"
