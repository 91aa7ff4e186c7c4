"""Runs the service behind its listeners until a signal: in this process alone, or as one of the workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence

import uvloop

from relay import __version__
from relay.config import Settings
from relay.process.suspending import suspended_at_rest
from relay.service.reload import load, told_loaded
from relay.service.service import Service
from relay.telemetry import Telemetry
from relay.web import ingress, operator
from relay.web.file_descriptors import crowded_from
from relay.web.protocol import ingress_protocol
from relay.web.sockets import addresses, listen_private, listen_public
from relay.web.uvicorn_server import Server, Signals, at_each, make_server, serve_until, settle_memory


def serve(settings: Settings, *, watch: bool = False) -> int:
    """Run Relay until SIGTERM or SIGINT; returns the exit code. With `watch`, each edit of the file counts.

    Raises ConfigError, UsageError or JournalRefused where it cannot begin.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a process that is still starting
    settings.require_login()
    configuration = load(settings.config)
    public = listen_public(settings)
    private = listen_private(settings)
    telemetry = Telemetry.configure(log_format=settings.log_format, log_level=settings.log_level)
    with telemetry:
        service = Service(settings=settings, configuration=configuration, telemetry=telemetry)
        telemetry.service_started(version=__version__, pid=os.getpid(), **addresses(settings))
        told_loaded(telemetry, configuration)
        return uvloop.run(_run(service, public, private, watch=watch))


async def _run(
    service: Service, public: socket.socket, private: Sequence[socket.socket], *, watch: bool
) -> int:
    signals = Signals()
    signals.listen()
    await service.start(watch=watch)
    servers = [(ingress_server(service), public)]
    for listener in private:
        back = operator.create_app(
            service.telemetry.registry, refresh=service.refresh_metrics, settings=service.settings
        )
        servers.append((make_server(back), listener))
    settle_memory()
    await service.tell_ready()
    return await hold(service, signals, servers)


async def hold(service: Service, signals: Signals, servers: Sequence[tuple[Server, socket.socket]]) -> int:
    """Serve until told to stop, or broken; then drain the service and close it. The exit code."""
    breaking = asyncio.create_task(_stop_where_broken(service, signals))
    hung_up = asyncio.create_task(
        at_each(signals.hangup, service.reloader.reload, service.telemetry, where="reload")
    )

    async def drain() -> None:
        hung_up.cancel()
        await service.drain()

    with suspended_at_rest() as suspending:
        suspending.at_rest(service.journal.at_rest)
        await serve_until(signals.stop, servers, drain=drain)
        await service.close()
    breaking.cancel()
    return 1 if service.broken.is_set() else 0


async def _stop_where_broken(service: Service, signals: Signals) -> None:
    await service.broken.wait()
    signals.stop.set()


def ingress_server(service: Service) -> Server:
    """The server of the ingress."""
    refused = service.telemetry.request_refused
    protocol = ingress_protocol(refused=refused, crowded_from=crowded_from())
    return make_server(ingress.create_app(service), http=protocol)
