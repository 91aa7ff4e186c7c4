"""A plain connection to a server that the rules allow."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_address
from typing import Any

import aiohttp

from relay.egress.dial.guard import BlockedAddress, Guard


class UnknownName(OSError):
    """The server's name could not be resolved."""


async def dial(host: str, port: int, connect: float | None, guard: Guard) -> socket.socket:
    """A connection to the first of the server's addresses that may be dialled and answers.

    Raises BlockedAddress where none answered and one was not allowed, UnknownName where the name is none;
    else the system's own OSError. `connect` is the deadline in seconds, for the name too.
    """
    problem: OSError | None = None
    try:
        async with asyncio.timeout(connect):
            for info in await _addresses(host, port):
                try:
                    return await _connect(info, guard)
                except OSError as error:
                    problem = problem if isinstance(problem, BlockedAddress) else error
    except TimeoutError:
        raise TimeoutError(errno.ETIMEDOUT, f"no connection within {connect:g} s") from None
    raise problem or UnknownName("no address")


async def _connect(info: tuple[Any, ...], guard: Guard) -> socket.socket:
    connection = guard.socket(info)
    try:
        connection.setblocking(False)  # noqa: FBT003 - its only argument
        await asyncio.get_running_loop().sock_connect(connection, info[4])
    except BaseException:
        connection.close()
        raise
    return connection


async def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What a name stands for, as `getaddrinfo` has it; by aiodns, so that a slow name delays nobody else."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
    except ValueError:
        pass
    else:
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    resolver = aiohttp.AsyncResolver()
    try:
        found = await resolver.resolve(host, port, socket.AF_UNSPEC)
    except OSError as error:
        raise UnknownName(error.strerror or str(error) or "cannot be resolved") from error
    finally:
        await resolver.close()
    return [
        (one["family"], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (one["host"], one["port"]))
        for one in found
    ]
