"""Runs the service behind its two listeners until a signal, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn
import uvloop

from relay import __version__
from relay.config import Configuration, Settings
from relay.errors import UsageError
from relay.reload import load, told_loaded
from relay.service import Service
from relay.telemetry import Telemetry
from relay.web import ingress, operator
from relay.web.protocol import ingress_protocol

BACKLOG = 2048
GC_THRESHOLDS = (20_000, 50, 50)
"""Events die young and in no circles: looking for circles as often as Python does costs a tenth."""

LAST_ANSWERS = 1.0
"""Seconds after the drain for requests that are still being answered."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: one pair of ours serves both listeners."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings, *, watch: bool = False) -> int:
    """Run Relay until SIGTERM or SIGINT; returns the exit code. With `watch`, each edit of the file counts.

    Raises ConfigError, UsageError or JournalRefused where it cannot begin.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a process that is still starting
    configuration = load(settings.config)
    public = _listen(settings.host, settings.port, "PORT")
    private = _listen(settings.admin_host, settings.admin_port, "ADMIN_PORT")
    telemetry = Telemetry.configure(log_format=settings.log_format, log_level=settings.log_level)
    with public, private, telemetry:
        telemetry.service_started(
            version=__version__,
            pid=os.getpid(),
            listening=f"{settings.host}:{settings.port}",
            operators=f"{settings.admin_host}:{settings.admin_port}",
        )
        told_loaded(telemetry, configuration)
        return uvloop.run(_run(settings, configuration, telemetry, (public, private), watch=watch))


async def _run(
    settings: Settings,
    configuration: Configuration,
    telemetry: Telemetry,
    sockets: tuple[socket.socket, socket.socket],
    *,
    watch: bool,
) -> int:
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    service = Service(settings=settings, configuration=configuration, telemetry=telemetry)
    await service.start(watch=watch)
    front = _server(ingress.create_app(service), http=ingress_protocol(refused=telemetry.request_refused))
    back = _server(operator.create_app(service), http="httptools")
    # What start-up made lives as long as the process; the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    listeners = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip((front, back), sockets, strict=True)
    ]
    stopped = asyncio.create_task(stop.wait())
    hung_up = asyncio.create_task(_reload_at(hangup, service))
    await asyncio.wait({*listeners, stopped}, return_when=asyncio.FIRST_COMPLETED)
    hung_up.cancel()
    for server in (front, back):
        server.should_exit = True  # no new connections; requests under way are answered
    await service.drain()
    await asyncio.wait(listeners, timeout=LAST_ANSWERS)
    for server in (front, back):
        server.force_exit = True
    await asyncio.gather(*listeners)
    await service.close()
    stopped.cancel()
    return 0


async def _reload_at(hangup: asyncio.Event, service: Service) -> None:
    """Take the file anew at each SIGHUP; several at once are one."""
    while True:
        await hangup.wait()
        hangup.clear()
        await service.reloader.reload()


def _server(app: object, *, http: object) -> _Server:
    return _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=http,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )
    )


def _listen(host: str, port: int, name: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {_why(error)}; "
            f"set RELAY_{name} to a port that is free and allowed, or RELAY_{name.replace('PORT', 'HOST')}"
            " to an address of this machine"
        ) from error


def _why(error: OSError) -> str:
    """The system's words, without those that Python puts around them."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
