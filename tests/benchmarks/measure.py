"""One measurement: start a receiver and a subject, send for a while, wait for the last delivery, end all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.database import Database
from tests.benchmarks.subjects import Subject
from tests.support import eventually, free_port, request

SENDERS = 32
WARM_UP_SECONDS = 0.5
QUIET_AFTER = 8.0
"""Seconds without a new delivery after which no more is waited for: more than the first retry's wait."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to; times in seconds, CPU in seconds per event, the database server's included.

    server_cpu  the server's part of it
    written     bytes of the server's write-ahead log per event
    load        the machine's load average of the last minute, as the run ended
    """

    per_second: float
    cpu: float
    server_cpu: float
    written: float
    p50: float
    p99: float
    acknowledged: int
    delivered: int
    refused: int
    load: float

    @property
    def missing(self) -> int:
        """Acknowledged events that had not arrived when the waiting ended."""
        return self.acknowledged - self.delivered


@dataclass(frozen=True, slots=True)
class _Spent:
    """What was used until now: seconds of CPU of the nodes and of the server, bytes of its log."""

    nodes: float
    server: float
    written: int


def measure(subject: Subject, *, seconds: float, database: Database | None = None) -> Figures:
    """Measure one subject once, on fresh processes and an empty journal; a shared one is in `database`."""
    database = database if subject.shared else None
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        receiver = stack.enter_context(_started(_module("receiver"), folder, "receiver", {}))
        port_line = eventually(lambda: (folder / "receiver.out").read_text().strip())
        target = f"http://127.0.0.1:{port_line}"
        url = stack.enter_context(database.fresh()) if database else f"sqlite:///{folder / 'relay.db'}"
        ports = [free_port() for _ in range(subject.nodes)]
        nodes = [
            stack.enter_context(_node(subject, folder, port=port, target=f"{target}/in", journal=url))
            for port in ports
        ]
        warmed = _send(subject, ports, seconds=WARM_UP_SECONDS, first=0)
        warm = _drained(target, subject, wanted=warmed["acknowledged"])
        before = _spent(nodes, database)
        sent = _send(subject, ports, seconds=seconds, first=10_000_000)
        counted = _drained(target, subject, wanted=warm["delivered"] + sent["acknowledged"])
        after = _spent(nodes, database)
        assert receiver.poll() is None, "the receiver ended"
        delivered = counted["delivered"] - warm["delivered"]
        events, server = max(delivered, 1), after.server - before.server
        return Figures(
            per_second=delivered / max(counted["last"] - sent["started"], 1e-9),
            cpu=(after.nodes - before.nodes + server) / events,
            server_cpu=server / events,
            written=(after.written - before.written) / events,
            p50=sent["p50"],
            p99=sent["p99"],
            acknowledged=sent["acknowledged"],
            delivered=delivered,
            refused=sum(sent["refused"].values()) + sent["lost_connections"],
            load=os.getloadavg()[0],
        )


@contextlib.contextmanager
def _node(
    subject: Subject, folder: Path, *, port: int, target: str, journal: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One process of a subject, once it answers."""
    environ = subject.environ(folder, port=port, admin_port=free_port(), target=target, journal=journal)
    with _started(subject.command(), folder, f"subject-{port}", environ) as process:
        _wait_until_up(port, process, folder / f"subject-{port}.err")
        if subject.workers > 1:
            said = folder / f"subject-{port}.out"
            eventually(lambda: said.read_text().count("service.ready") == subject.workers, timeout=60)
        yield process


def _spent(nodes: Sequence[subprocess.Popen[bytes]], database: Database | None) -> _Spent:
    return _Spent(
        nodes=cpu_of([node.pid for node in nodes]),
        server=cpu_of([database.pid]) if database else 0.0,
        written=database.written() if database else 0,
    )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"tests.benchmarks.{name}"]


@contextlib.contextmanager
def _started(
    command: list[str], folder: Path, name: str, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, its output in files, and end the group afterwards."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RELAY_")}
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        process = subprocess.Popen(
            command,
            env=inherited | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait_until_up(port: int, process: subprocess.Popen[bytes], errors: Path) -> None:
    """Wait until the subject answers; Relay has /readyz, for the others any answer will do."""

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the subject ended at once:\n{errors.read_text()[-4000:]}")
        try:
            return request("GET", f"http://127.0.0.1:{port}/readyz", timeout=2).status < 500
        except OSError:
            return False

    eventually(answers, timeout=60)


def _send(subject: Subject, ports: Sequence[int], *, seconds: float, first: int) -> dict[str, Any]:
    """Let the senders post for a while; what they saw."""
    options = {
        "--ports": ",".join(str(port) for port in ports),
        "--path": "/hooks/bench",
        "--seconds": seconds,
        "--senders": SENDERS,
        "--first": first,
        "--most": int(subject.most * seconds),
    }
    command = [*_module("sender"), *(str(word) for pair in options.items() for word in pair)]
    command += ["--signed"] if subject.signed else []
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 60)
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def _drained(target: str, subject: Subject, *, wanted: int) -> dict[str, Any]:
    """What the receiver counted, once it has all, or nothing new came for a while, or the wait is over."""
    began = time.monotonic()
    while True:
        counted: dict[str, Any] = request("GET", target).json()
        now = time.monotonic()
        quiet = now - max(counted["last"], began)
        if counted["delivered"] >= wanted or quiet > QUIET_AFTER or now - began > subject.drain:
            return counted
        time.sleep(0.05)


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds of CPU that processes, their living descendants and their ended children have used."""
    ticks = 0
    waiting = list(pids)
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{current}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return ticks / os.sysconf("SC_CLK_TCK")
