"""Chores: a journal that cannot be read is reported, and blinds no more of them than it must."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from relay.alerts import Alerts, Watch
from relay.config import load
from relay.dispatch import AttemptRunner, Bodies, Dispatcher
from relay.egress import Egress
from relay.journal import Journal, Reader
from relay.lease_times import TIMES, Times
from relay.process.body_memory import BodyMemory
from relay.process.clock import Clock
from relay.service.housekeeping import Chores
from relay.telemetry import Notice, Telemetry
from tests.support.journals import prepare

CONFIG = """
sources: {in: {verify: none}}
destinations: {ops: {url: "http://ops.example/"}}
routes: [{source: in, to: ops}]
alerts: [{about: [disk_low], to: ops}]
"""


@asynccontextmanager
async def housekeeping(folder: Path, log: io.StringIO, times: Times) -> AsyncIterator[list[Notice]]:
    """The chores of a service at work, and the notices that they raise."""
    (folder / "relay.yaml").write_text(CONFIG)
    configuration, clock, url = load(folder / "relay.yaml", {}), Clock(), prepare(folder / "relay.db")
    notices: list[Notice] = []
    with Telemetry.configure(stream=log) as telemetry:
        telemetry.listen(notices.append)
        journal = Journal.open(url, clock=clock, node="a" * 32, hooks=telemetry)
        with Reader.open(url) as reader:
            attempt_runner = AttemptRunner(
                configuration=configuration,
                journal=journal,
                egress=Egress(configuration.egress, httpx.MockTransport(lambda _: httpx.Response(200))),
                telemetry=telemetry,
                clock=clock,
                rng=random.Random(1),
            )
            parts: dict[str, Any] = {"journal": journal, "telemetry": telemetry, "clock": clock}
            dispatcher = Dispatcher((), attempt_runner=attempt_runner, bodies=Bodies(BodyMemory()), **parts)
            beside = Chores(
                reader=reader,
                dispatcher=dispatcher,
                alerts=Alerts(configuration=configuration, nudge=dispatcher.nudge, **parts),
                watch=Watch(configuration=configuration, telemetry=telemetry, clock=clock),
                retention=configuration.retention,
                times=times,
                **parts,
            )
            beside.start()
            yield notices
            await beside.stop()
        journal.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - nothing rings here
            await asyncio.sleep(0.01)


async def test_a_journal_that_cannot_be_read_is_reported_once_for_each_chore_that_it_blinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes writes all the while; the disk is looked at all the same; the end is reported too."""
    log = io.StringIO()
    free = [1 << 40]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 41, free=free[0]))
    async with housekeeping(tmp_path, log, replace(TIMES, first_look=0.02, look=0.02, audit=0.02)) as notices:
        other = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        other.execute("ALTER TABLE delivery RENAME TO away")
        await until(lambda: log.getvalue().count('"journal.unavailable"') == 2)
        free[0] = 1 << 20
        await until(lambda: any(notice.kind == "disk_low" for notice in notices))
        other.execute("ALTER TABLE away RENAME TO delivery")
        await until(lambda: log.getvalue().count('"journal.recovered"') == 2)
        other.close()
    for happening in ("unavailable", "recovered"):
        lines = [line for line in log.getvalue().splitlines() if f'"journal.{happening}"' in line]
        assert (
            sorted(chore in line for line in lines for chore in ('"audit"', '"look"'))
            == [False] * 2 + [True] * 2
        )
