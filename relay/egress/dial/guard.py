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
    (ip_network("64:ff9b:1::/48"), 0),  # NAT64 of a network's own, RFC 8215, with a prefix of 96 bits
    (ip_network("2001::/32"), 64),  # Teredo, RFC 4380: its server
    (ip_network("2002::/16"), 80),  # 6to4, RFC 3056
)
_TEREDO: Final = ip_network("2001::/32")
_LOCAL_NAT64: Final = ip_network("64:ff9b:1::/48")
# The IPv4 address after a prefix of 48, 56 or 64 bits, so many bits from the right once the octet that
# RFC 6052 (2.2) leaves out is left out.
_BEHIND_SHORT_PREFIXES: Final = (40, 32, 24)
_OCTET_FROM: Final = 64
_WITHOUT_OCTET: Final = (1 << 56) - 1
# The middle of an ISATAP address (RFC 5214, 6.1), whatever network it is of: a local one, a global one.
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
_IPV4_BITS: Final = 0xFFFF_FFFF
_NOWHERE: Final = ip_network("0.0.0.0/8")
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
        for carried in _carried(address):
            yield from _forms(carried)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """Every IPv4 address that one of IPv6 carries by some standard."""
    bits = int(address)
    for network, shift in _WRAPPERS:
        if address in network:
            yield IPv4Address(bits >> shift & _IPV4_BITS)
    if address in _TEREDO:
        yield IPv4Address(~bits & _IPV4_BITS)  # the client, written with every bit turned round
    if bits >> 32 & _IPV4_BITS in _ISATAP:
        yield IPv4Address(bits & _IPV4_BITS)
    if address in _LOCAL_NAT64:
        joined = bits >> _OCTET_FROM << 56 | bits & _WITHOUT_OCTET
        for shift in _BEHIND_SHORT_PREFIXES:
            found = IPv4Address(joined >> shift & _IPV4_BITS)
            # Where the network's prefix is longer, this reads zeros: no host, and no reason to deny.
            if found not in _NOWHERE:
                yield found
