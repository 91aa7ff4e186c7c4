"""Pulling the plug: kill -9 under load, and power loss under the journal."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support import Receiver, RelayProcess, eventually
from tests.support.experiment import Recorder
from tests.support.length import Length

StartRelay = Callable[..., RelayProcess]

SENDERS = 8


def _all_came(receiver: Receiver, names: set[str]) -> bool:
    return names <= {json.loads(body)["name"] for body in {one.body for one in receiver.requests}}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [7, 8])
def test_kills_under_load_lose_nothing(
    receiver: Receiver, start_relay: StartRelay, seed: int, length: Length, experiment: Recorder
) -> None:
    """Every acknowledged event is delivered, whenever the process was killed; the ledger balances."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/", retry: {{first_wait: 200ms, factor: 1}}}}}}
routes: [{{source: in, to: out}}]
"""
    )
    acknowledged: list[str] = []
    stop = threading.Event()

    def send(sender: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"{sender}-{number}"
            try:
                answer = relay.post("in", json.dumps({"name": name}), timeout=5)
            except (OSError, http.client.HTTPException):
                stop.wait(0.02)
                continue
            if answer.status == 202:
                acknowledged.append(name)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    chance, kills = random.Random(seed), length.count(100, short=10)
    try:
        for _ in range(kills):
            stop.wait(chance.uniform(0.1, 0.6))
            relay.kill9()
            relay.start()
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert len(acknowledged) > kills
    wanted = set(acknowledged)
    eventually(partial(_all_came, receiver, wanted), timeout=120)
    relay.wait_log("attempt.finished")
    ledger = relay.cli("ledger", "--json").json()
    came = Counter(json.loads(one.body)["name"] for one in receiver.requests)
    experiment.note(
        f"kill -9, {kills} times",
        ledger,
        acknowledged=len(wanted),
        lost=len(wanted - set(came)),
        duplicates=sum(came.values()) - len(came),
    )
    assert ledger["balanced"]


_APPENDER = """
import asyncio, os, sys
from relay.process.clock import Clock
from relay.journal import Entry, Journal
from relay.journal.sqlite import engine
from relay.model import Event

settle_in = engine._settle_in

def weakened(connection):
    settle_in(connection)
    connection.execute("PRAGMA synchronous=" + sys.argv[3])

engine._settle_in = weakened

async def main(path, acknowledged):
    journal = Journal.open(f"sqlite:///{path}", clock=Clock(), node="a" * 32)
    async def one(number):
        event = Event(id=f"evt_{number:032x}", source="in", type=None, provider_id=None, received_at=1.0,
            method="POST", path="/in", query=b"", headers=(), body=os.urandom(700), remote=None)
        await journal.append(Entry(event=event))
        os.write(acknowledged, b"%s\\n" % event.id.encode())
    for batch in range(60):
        await asyncio.gather(*(one(batch * 8 + k) for k in range(8)))
    os.kill(os.getpid(), 9)

asyncio.run(main(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)))
"""
_CALL = re.compile(
    r"^\d+ +(?:\d+\.\d+ )?(pwrite64|fsync|fdatasync|write|ftruncate)\(\d+<([^>]*)>(.*)\) += (-?\d+)"
)


def _lost_writes(trace: str, path: str) -> list[tuple[int, int]]:
    """Offsets and lengths written to `path` since its last fsync: what a power cut may take."""
    unsynced: list[tuple[int, int]] = []
    pending: dict[str, str] = {}
    for raw in trace.splitlines():
        line = raw
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            pending[thread] = line.removesuffix("<unfinished ...>")
            continue
        if "resumed>" in line and thread in pending:
            line = pending.pop(thread) + line.split("resumed>", 1)[1]
        match = _CALL.match(line)
        if match is None or match[2] != path:
            continue
        if match[1] in {"fsync", "fdatasync"}:
            unsynced.clear()
        elif match[1] == "pwrite64":
            offset = int(match[3].rsplit(",", 1)[1])
            unsynced.append((offset, int(match[4])))
    return unsynced


def _survivors(folder: Path, *, synchronous: str) -> tuple[set[str], set[str]]:
    """Run the appender under strace, cut the power at its end; acknowledged ids, and those still there."""
    folder.mkdir()
    path = folder / "relay.db"
    script = folder / "appender.py"
    script.write_text(_APPENDER)
    trace = folder / "trace"
    acknowledged = folder / "acknowledged"
    strace = ["strace", "-f", "-y", "-e", "trace=pwrite64,fsync,fdatasync,ftruncate", "-o", str(trace)]
    subprocess.run(
        [*strace, sys.executable, str(script), str(path), str(acknowledged), synchronous],
        check=False,
        timeout=100,
        env=dict(os.environ),
    )
    wal = folder / "relay.db-wal"
    for file in (wal, path):
        with file.open("r+b") as raw:
            for offset, length in _lost_writes(trace.read_text(), str(file)):
                raw.seek(offset)
                raw.write(bytes(length))
    (folder / "relay.db-shm").unlink(missing_ok=True)  # not on disk: it is rebuilt from the log
    with sqlite3.connect(path) as reopened:
        assert reopened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = {row[0] for row in reopened.execute("SELECT id FROM event")}
    reopened.close()
    return set(acknowledged.read_text().split()), kept


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_power_loss_takes_no_acknowledged_event(tmp_path: Path) -> None:
    """With FULL nothing acknowledged is lost when all unsynced bytes are; the NORMAL control loses some."""
    acknowledged, kept = _survivors(tmp_path / "full", synchronous="FULL")
    assert len(acknowledged) > 400
    assert acknowledged <= kept
    acknowledged, kept = _survivors(tmp_path / "normal", synchronous="NORMAL")
    assert acknowledged - kept, "the control must lose some, or the experiment proves nothing"
