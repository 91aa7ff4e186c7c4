"""The parent of several workers: owns the address, the operator listener and the signals, and no journal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence

import uvloop

from relay import __version__
from relay.config import Settings
from relay.telemetry import Telemetry
from relay.telemetry.multiprocess import Totals
from relay.telemetry.stdout_lock import make_turns
from relay.web import operator
from relay.web.sockets import addresses, listen_private, reserve_public
from relay.web.uvicorn_server import Signals, at_each, make_server, serve_until
from relay.web.worker_pool import WorkerPool


def supervise(settings: Settings, *, watch: bool = False) -> int:
    """Run `settings.workers` workers until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError or UsageError where it cannot begin; a worker that cannot says so itself.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a process that is still starting
    settings.require_login()
    turns = make_turns()
    with reserve_public(settings) as reserved:
        settings = settings.model_copy(update={"port": reserved.getsockname()[1]})
        private = listen_private(settings)
        with Telemetry.configure(
            log_format=settings.log_format, log_level=settings.log_level, turns=turns
        ) as telemetry:
            telemetry.service_started(
                version=__version__, pid=os.getpid(), workers=settings.workers, **addresses(settings)
            )
            totals = Totals()
            pool = WorkerPool(settings=settings, watch=watch, turns=turns, telemetry=telemetry, totals=totals)
            code = uvloop.run(_run(pool, totals, private, settings, telemetry))
            telemetry.service_stopped(workers=settings.workers)
            return code


async def _run(
    pool: WorkerPool,
    totals: Totals,
    private: Sequence[socket.socket],
    settings: Settings,
    telemetry: Telemetry,
) -> int:
    signals = Signals()
    signals.listen()
    keeping = asyncio.create_task(pool.run(signals.stop))
    hung_up = asyncio.create_task(at_each(signals.hangup, pool.reload, telemetry, where="reload"))
    servers = [
        (make_server(operator.create_app(totals, refresh=pool.refresh, settings=settings)), listener)
        for listener in private
    ]

    async def drain() -> None:
        hung_up.cancel()
        await asyncio.wait({keeping})

    await serve_until(signals.stop, servers, drain=drain)
    return await keeping
