"""One worker: a whole service in a process of its own, under a parent that owns the operator listener."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Mapping
from typing import Any

import uvloop

from relay import __version__
from relay.config import Settings
from relay.errors import UsageError
from relay.service.reload import load, told_loaded
from relay.service.service import Service
from relay.telemetry import Telemetry
from relay.telemetry.multiprocess import families
from relay.web.server import hold, ingress_server
from relay.web.sockets import addresses, listen_public
from relay.web.uvicorn_server import Signals, either, settle_memory
from relay.web.worker_channel import Channel


def work() -> int:
    """Serve as the parent at the other end of standard input says; returns the exit code.

    Raises ConfigError, UsageError or JournalRefused where it cannot begin.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a process that is still starting
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        raise UsageError("`relay worker` is what `relay serve --workers N` starts; it is not for people")
    return uvloop.run(_run(socket.socket(fileno=0)))


async def _run(end: socket.socket) -> int:
    signals = Signals()
    signals.listen()
    channel = await Channel.on(end)
    receiving = asyncio.create_task(channel.receive())
    await either(receiving, signals.stop.wait())
    if signals.stop.is_set() or (orders := receiving.result()) is None:
        return 0
    settings = Settings(**orders["settings"])
    configuration = load(settings.config)
    with Telemetry.configure(
        log_format=settings.log_format, log_level=settings.log_level, turns=orders["turns"]
    ) as telemetry:
        service = Service(settings=settings, configuration=configuration, telemetry=telemetry)
        telemetry.service_started(
            version=__version__, pid=os.getpid(), worker=orders["worker"], **addresses(settings)
        )
        told_loaded(telemetry, configuration)
        told = asyncio.Event()
        answering = asyncio.create_task(_answer(channel, service, told, signals))
        await service.start(watch=orders["watch"])
        front = ingress_server(service)
        settle_memory()
        channel.send({"ready": True, "locks": [str(path) for path in service.journal.locks]})
        # Whoever listens alone gets every connection there is, and some are kept for hours.
        await either(told.wait(), signals.stop.wait())
        public = listen_public(settings, shared=True)
        await service.tell_ready()
        code = await hold(service, signals, [(front, public)])
        channel.send({"families": families(telemetry.registry), "looked": False})
        answering.cancel()
        await channel.close()
    return code


async def _answer(channel: Channel, service: Service, told: asyncio.Event, signals: Signals) -> None:
    """Hear when to listen, tell the parent this worker's metrics at each question; stop when it is gone."""
    while (said := await channel.receive()) is not None:
        if "listen" in said:
            told.set()
            continue
        try:
            channel.send(await _metrics(service, said))
        except Exception as error:  # noqa: BLE001 - without an answer the parent takes this worker for hung
            service.telemetry.internal_error(where="metrics", error=error)
            channel.send({"asked": said.get("ask", 0)})
    signals.stop.set()


async def _metrics(service: Service, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a question of the parent; with `look`, what all workers share is brought up to date."""
    looked = asked["look"] and service.ready
    if looked:
        await service.refresh_metrics()
    return {"asked": asked["ask"], "looked": looked, "families": families(service.telemetry.registry)}
