"""The sockets that Relay listens on, and what to say where it cannot."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from relay.config import Settings
from relay.errors import UsageError

BACKLOG = 2048


def listen_public(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The ingress; `shared` with the other workers, among whom the kernel spreads the connections."""
    with _told(settings.host, settings.port, host="HOST", port="PORT"):
        return _create(settings.host, settings.port, shared=shared)


def listen_private(settings: Settings) -> list[socket.socket]:
    """The operator listener; and metrics alone on a port of their own, if that is set."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for port, name in ((settings.admin_port, "ADMIN_PORT"), (settings.metrics_port, "METRICS_PORT")):
            if port is not None:
                with _told(settings.admin_host, port, host="ADMIN_HOST", port=name):
                    sockets.append(stack.enter_context(_create(settings.admin_host, port)))
        stack.pop_all()
        return sockets


def reserve_public(settings: Settings) -> socket.socket:
    """The ingress's address, bound and not listened on: kept for the workers, who share it.

    A shared bind succeeds beside any other of this user, so that a second service would take half of
    the first one's connections unnoticed; one that is not shared is tried before.
    """
    with _told(settings.host, settings.port, host="HOST", port="PORT"):
        with _bound(settings.host, settings.port, shared=False) as alone:
            port = alone.getsockname()[1]
        return _bound(settings.host, port, shared=True)


def addresses(settings: Settings) -> dict[str, str]:
    """Where the service listens, for its first log line."""
    found = {
        "listening": f"{settings.host}:{settings.port}",
        "operators": f"{settings.admin_host}:{settings.admin_port}",
    }
    if settings.metrics_port is not None:
        found["metrics"] = f"{settings.admin_host}:{settings.metrics_port}"
    return found


def _create(host: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = _bound(host, port, shared=shared)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    """A socket on an address; `::` is every address of both families."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def _told(address: str, number: int, *, host: str, port: str) -> Iterator[None]:
    """Say what to set where an address cannot be listened on."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address}:{number}: {_why(error)}; "
            f"set RELAY_{port} to a port that is free and allowed, or RELAY_{host}"
            " to an address of this machine"
        ) from error


def _why(error: OSError) -> str:
    """The system's words, without those that Python puts around them."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
