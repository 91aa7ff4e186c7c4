"""One worker: a whole service in a process of its own, under a parent that owns the operator listener."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat

import uvloop

from relay import __version__
from relay.config import Settings
from relay.errors import UsageError
from relay.reload import load, told_loaded
from relay.service import Service
from relay.telemetry import Telemetry
from relay.telemetry.totals import families
from relay.web.channel import Channel
from relay.web.listening import addresses, listen_public
from relay.web.running import Signals, settle_memory
from relay.web.server import hold, ingress_server


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
    orders = await channel.receive()
    if orders is None:
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
        answering = asyncio.create_task(_answer(channel, service, signals))
        await service.start(watch=orders["watch"])
        # Not before it is ready: the kernel would give it connections that it cannot serve yet.
        servers = [(ingress_server(service), listen_public(settings, shared=True))]
        settle_memory()
        channel.send({"ready": True})
        await hold(service, signals, servers)
        channel.send({"families": families(telemetry.registry), "looked": False})
        answering.cancel()
        await channel.close()
    return 0


async def _answer(channel: Channel, service: Service, signals: Signals) -> None:
    """Tell the parent this worker's metrics whenever it asks; stop when it is gone."""
    while (asked := await channel.receive()) is not None:
        if asked["look"] and service.ready:
            await service.refresh_metrics()
        looked = asked["look"] and service.ready
        channel.send(
            {"asked": asked["ask"], "looked": looked, "families": families(service.telemetry.registry)}
        )
    signals.stop.set()
