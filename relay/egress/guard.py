"""Which addresses may be dialled; asked with the address itself, after every name has been resolved."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from relay.config.model import EgressRules

Address = IPv4Address | IPv6Address

# In an address of these networks stands an IPv4 address, so many bits from the right: a gateway, a
# tunnel or the system itself carries the connection there.
_WRAPPERS: Final = (
    (ip_network("::/96"), 0),  # IPv4-compatible, RFC 4291 2.5.5.1
    (ip_network("::ffff:0:0/96"), 0),  # IPv4-mapped, RFC 4291 2.5.5.2
    (ip_network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (ip_network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ip_network("2002::/16"), 80),  # 6to4, RFC 3056
)
_IPV4_BITS: Final = 0xFFFF_FFFF
# Linux connects to itself by these.
_THIS_HOST: Final[dict[Address, Address]] = {
    IPv4Address("0.0.0.0"): IPv4Address("127.0.0.1"),  # noqa: S104 - nothing is bound to it
    IPv6Address("::"): IPv6Address("::1"),
}

# aiohttp folds what several addresses of one name raised into one text; what was blocked is kept here.
_BLOCKED: Final[ContextVar[list[str]]] = ContextVar("blocked")


class BlockedAddress(OSError):
    """This address must not be dialled; an OSError, so that whoever dials goes on to the next one."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is denied by `egress`")
        self.address = address


class Guard:
    """Holds all dialling to the rules; an address is denied where any way to read it is."""

    __slots__ = ("_rules",)

    def __init__(self, rules: EgressRules) -> None:
        self._rules = rules

    def check(self, address: str) -> None:
        """Raise BlockedAddress where this address (a literal, maybe with a zone) must not be dialled."""
        allow, deny = self._rules.allow, self._rules.deny
        for form in _forms(ip_address(address.partition("%")[0])):
            if any(form in network for network in deny) and not any(form in network for network in allow):
                raise BlockedAddress(address)

    def check_literal(self, host: str) -> None:
        """Check a host that is an address; a name passes, where it is somebody else who resolves it."""
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return
        self.check(host)

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one of `getaddrinfo`'s answers; BlockedAddress where it must not be dialled."""
        family, kind, protocol, _, address = info
        try:
            self.check(address[0])
        except BlockedAddress as error:
            _BLOCKED.get([]).append(error.address)
            raise
        return socket.socket(family, kind, protocol)


def watch() -> list[str]:
    """Begin a list of the addresses that are blocked from now on in this task and those it starts."""
    blocked: list[str] = []
    _BLOCKED.set(blocked)
    return blocked


def _forms(address: Address) -> Iterator[Address]:
    """The address, and every other that it leads to."""
    yield address
    if address in _THIS_HOST:
        yield _THIS_HOST[address]
    elif isinstance(address, IPv6Address) and not address.is_loopback:
        for network, shift in _WRAPPERS:
            if address in network:
                yield from _forms(IPv4Address(int(address) >> shift & _IPV4_BITS))
