"""The wall clock jumps an hour, forwards for one node and backwards for the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.support import Received, Receiver, RelayProcess, Reply, eventually, start_together
from tests.support.databases import Databases
from tests.support.length import Length
from tests.support.load import again

StartRelay = Callable[..., RelayProcess]

JUMPS = ("+3600", "-3600")
EVENTS = 10

_SLEEP = """
import select, time

time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
"""libfaketime 0.9.10 makes an error of the call that sleep makes, when it leaves the steady clock alone."""


def _faked(clock: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is as much off as the file says; no other clock is."""
    beside = clock.with_suffix("")
    beside.mkdir()
    (beside / "sitecustomize.py").write_text(_SLEEP)
    found = subprocess.run(
        ["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return {
        "LD_PRELOAD": found.stdout.strip(),
        "PYTHONPATH": os.pathsep.join([str(beside), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@contextmanager
def _journal(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'shared.db'}"
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.one() as url:
        yield url


def _of(receiver: Receiver, path: str) -> list[Received]:
    return [one for one in receiver.requests if one.path == path]


def _takes(node: RelayProcess, source: str, body: str) -> bool:
    return node.post(source, body).status == 202  # a slow machine may say 503


def _wall_clock(node: RelayProcess) -> float:
    """What time a node believes that it is, by a line that it logs now."""
    before = len(node.logs)
    newest = eventually(lambda: node.logs[before:])[-1]
    return datetime.fromisoformat(newest["timestamp"]).timestamp()


def _is_off(node: RelayProcess, hours: int) -> bool:
    """Whether a node's wall clock has jumped; it looks at the file once a second, or when it gets to it."""
    return round((_wall_clock(node) - time.time()) / 3600) == hours


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_wall_clock_that_jumps_changes_no_due_time_and_no_lease(
    kind: str,
    tmp_path: Path,
    receiver: Receiver,
    start_relay: StartRelay,
    request: pytest.FixtureRequest,
    length: Length,
) -> None:
    """What is due in half an hour stays so, what is due in a second comes, and nobody is robbed."""
    config = f"""
sources: {{in: {{verify: none}}, slow: {{verify: none}}}}
destinations:
  late: {{url: "{receiver.url}/late", retry: {{first_wait: 30m, jitter: 0}}, breaker: null}}
  soon: {{url: "{receiver.url}/soon", retry: {{first_wait: 1s, factor: 1, jitter: 0}}, breaker: null}}
  slow: {{url: "{receiver.url}/slow"}}
routes:
  - {{source: in, to: [late, soon]}}
  - {{source: slow, to: slow}}
"""
    receiver.script(*[Reply(delay=length.seconds(12) + 1)] * 2, path="/slow")
    receiver.answer(503)
    clocks = [tmp_path / f"clock-{number}.offset" for number in range(len(JUMPS))]
    for clock in clocks:
        clock.write_text("+0")
    with _journal(kind, tmp_path, request) as url:
        nodes = [
            start_relay(config, start=False, journal=url, env={**_faked(clock), **length.env})
            for clock in clocks
        ]
        start_together(nodes)
        for node in nodes:
            for number in range(EVENTS):
                eventually(partial(_takes, node, "in", str(number)))
            eventually(partial(_takes, node, "slow", "{}"))
        receiver.wait(2, where=lambda one: one.path == "/slow")
        receiver.wait(2 * EVENTS, where=lambda one: one.path == "/late")
        for clock, jump in zip(clocks, JUMPS, strict=True):
            clock.write_text(jump)
        for node, hours in zip(nodes, (1, -1), strict=True):
            eventually(partial(_is_off, node, hours), timeout=60)
        came = len(_of(receiver, "/soon"))
        receiver.wait(came + 4 * EVENTS, timeout=30, where=lambda one: one.path == "/soon")
        time.sleep(2)
        receiver.answer(200)
        for node in nodes:
            node.wait_log("attempt.finished", destination="slow", outcome="delivered", timeout=30)
            assert node.log("delivery.rescued") == []
            assert node.log("delivery.fenced") == []
        assert again(_of(receiver, "/late")) == 0, "no storm"
        assert again(_of(receiver, "/slow")) == 0, "none stolen"
        eventually(partial(_takes, nodes[0], "slow", "{}"))
