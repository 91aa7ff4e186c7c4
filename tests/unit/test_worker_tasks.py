"""The tasks by which a parent and its workers talk outlive whatever they meet, and report it."""

from __future__ import annotations

import asyncio
import io
import socket
from pathlib import Path

import pytest

from relay import config
from relay.config import Settings
from relay.service.service import Service
from relay.telemetry import Telemetry
from relay.telemetry.multiprocess import Totals
from relay.web import worker, worker_pool
from relay.web.uvicorn_server import Signals, at_each
from relay.web.worker_channel import Channel
from relay.web.worker_pool import WorkerPool

FILE = """\
sources: {in: {verify: none}}
destinations: {out: {url: "http://127.0.0.1/"}}
routes: [{source: in, to: out}]
"""


@pytest.fixture
def log() -> io.StringIO:
    """What is logged."""
    return io.StringIO()


@pytest.fixture
def telemetry(log: io.StringIO) -> Telemetry:
    """Logs there."""
    return Telemetry.configure(stream=log)


async def reported(log: io.StringIO, text: str) -> None:
    """Wait until a line has this; a thread writes it."""
    async with asyncio.timeout(20):
        while text not in log.getvalue():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)


async def test_a_worker_answers_after_a_question_that_it_did_not_understand(
    tmp_path: Path, telemetry: Telemetry, log: io.StringIO
) -> None:
    """It is reported with its traceback, and answered without metrics: it is not hung."""
    (tmp_path / "relay.yaml").write_text(FILE)
    configuration = config.load(tmp_path / "relay.yaml", {})
    settings = Settings(config=tmp_path / "relay.yaml")
    service = Service(settings=settings, configuration=configuration, telemetry=telemetry)
    ours, theirs = socket.socketpair()
    parent, channel, signals = await Channel.on(ours), await Channel.on(theirs), Signals()
    answering = asyncio.create_task(worker._answer(channel, service, asyncio.Event(), signals))
    parent.send({"ask": 1})
    assert await parent.receive() == {"asked": 1}
    parent.send({"ask": 2, "look": False})
    answer = await parent.receive()
    assert answer is not None
    assert answer["families"]
    await reported(log, "Traceback")
    await reported(log, "KeyError")
    await parent.close()
    await answering
    assert signals.stop.is_set()
    await channel.close()


async def test_a_parent_asks_its_workers_after_one_that_it_could_not_look_at(
    telemetry: Telemetry, log: io.StringIO
) -> None:
    """And hears a worker after a message that it did not understand."""
    ours, theirs = socket.socketpair()
    channel, child = await Channel.on(ours), await Channel.on(theirs)
    process = await asyncio.create_subprocess_exec("sleep", "60")
    parent = WorkerPool(
        settings=Settings(workers=2), watch=False, turns=0, telemetry=telemetry, totals=Totals()
    )
    bad, good = (
        worker_pool._Worker(
            number=number, serial=number, patience=30.0, process=process, channel=channel, ready=True
        )
        for number in (1, 2)
    )
    bad.unanswered, bad.locks = 1, (Path("no\0file"),)
    parent._workers += [bad, good]
    tasks = [asyncio.create_task(parent._ask_all()), asyncio.create_task(parent._hear(good))]
    try:
        assert await child.receive() == {"ask": 0, "look": False}
        await reported(log, "Traceback")
        await reported(log, "ValueError")
        child.send({"families": []})
        child.send({"ready": True, "locks": ["/lock"]})
        await asyncio.wait_for(parent._begun.wait(), 20)
        await reported(log, "KeyError")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process.kill()
        await process.wait()
        await channel.close()
        await child.close()


async def test_a_signal_is_acted_on_after_one_at_which_something_failed(
    telemetry: Telemetry, log: io.StringIO
) -> None:
    """The next SIGHUP takes the file anew, whatever the last one met."""
    event, done, acts = asyncio.Event(), asyncio.Event(), iter((ValueError("odd"), None))

    async def act() -> None:
        if (error := next(acts)) is not None:
            event.set()
            raise error
        done.set()

    event.set()
    acting = asyncio.create_task(at_each(event, act, telemetry, where="reload"))
    await asyncio.wait_for(done.wait(), 20)
    acting.cancel()
    await reported(log, "odd")
