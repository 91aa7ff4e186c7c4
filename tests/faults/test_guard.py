"""Addresses that must not be dialled, and name servers that lie, hang or know nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import cast

import pytest
from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord  # type: ignore[import-untyped]

from relay.egress import Egress
from relay.model import Outcome
from tests.support import Receiver, RelayProcess
from tests.unit.egress_helpers import OK, answering, attempt, listening, rules

StartRelay = Callable[..., RelayProcess]


def config(url: str, egress: str) -> str:
    """One destination, tried once, under rules of `egress`."""
    return f"""
sources: {{in: {{verify: none}}}}
egress: {egress}
destinations:
  out: {{url: "{url}", timeout: 5s, retry: {{max_attempts: 1}}}}
routes: [{{source: in, to: out}}]
"""


def test_the_metadata_service_is_denied_by_default(start_relay: StartRelay) -> None:
    """Nobody has to write a rule for it."""
    relay = start_relay(config("http://169.254.169.254/latest/meta-data/", "{}"))
    relay.post("in")
    (dead,) = relay.wait_log("delivery.dead")
    assert (dead["outcome"], dead["error"]) == (
        "blocked_address",
        "169.254.169.254 is denied by `egress`",
    )


def test_a_denied_address_is_not_hit(receiver: Receiver, start_relay: StartRelay) -> None:
    """However the address is written or named, nothing is dialled."""
    hosts = ("127.0.0.1", "0.0.0.0", "localhost", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]")
    destinations = "".join(
        f'  out{number}: {{url: "http://{host}:{receiver.port}/", retry: {{max_attempts: 1}}}}\n'
        for number, host in enumerate(hosts)
    )
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations:
{destinations}
egress: {{deny: [127.0.0.0/8, "::1/128"]}}
routes: [{{source: in, to: [{", ".join(f"out{number}" for number in range(len(hosts)))}]}}]
"""
    )
    relay.post("in")
    dead = relay.wait_log("delivery.dead", len(hosts))
    assert {(one["destination"], one["outcome"]) for one in dead} == {
        (f"out{number}", "blocked_address") for number in range(len(hosts))
    }
    assert receiver.connections == 0


def test_an_exception_is_hit(receiver: Receiver, start_relay: StartRelay) -> None:
    """What `allow` takes out of `deny` gets its events."""
    relay = start_relay(config(f"{receiver.url}/", "{deny: [127.0.0.0/8], allow: [127.0.0.1/32]}"))
    relay.post("in")
    receiver.wait()


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1%25lo]"])
def test_an_address_in_disguise_is_refused_by_check(start_relay: StartRelay, host: str) -> None:
    """A spelling that resolvers read as an address never becomes a destination."""
    relay = start_relay(config(f"http://{host}/", "{}"), start=False)
    assert relay.cli("check", check=False).code == 2


Answers = Callable[[str, int], list[str] | None]
"""The addresses of a name at the so manieth question for it; None for no such name."""


class NameServer(asyncio.DatagramProtocol):
    """Answers as it is told, after `delay` seconds; `asked` counts the questions for each name."""

    def __init__(self, answers: Answers, *, delay: float = 0.0) -> None:
        self._answers = answers
        self._delay = delay
        self.asked: dict[str, int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question for addresses of one family."""
        question = DNSRecord.parse(data)
        name, kind = str(question.q.qname).rstrip("."), question.q.qtype
        reply = question.reply()
        if kind == QTYPE.A:
            self.asked[name] = self.asked.get(name, 0) + 1
        addresses = self._answers(name, self.asked.get(name, 1))
        if addresses is None:
            reply.header.rcode = RCODE.NXDOMAIN
        for address in addresses or []:
            is_v6 = ":" in address
            if kind == (QTYPE.AAAA if is_v6 else QTYPE.A):
                data_of = AAAA(address) if is_v6 else A(address)
                reply.add_answer(RR(question.q.qname, kind, ttl=0, rdata=data_of))
        asyncio.get_running_loop().call_later(self._delay, self._send, reply.pack(), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, addr)


@asynccontextmanager
async def egress_by(server: NameServer, *, deny: str = "") -> AsyncIterator[Egress]:
    """An egress that asks this name server."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        async with Egress(rules(deny=deny), nameservers=[f"127.0.0.1:{port}"]) as egress:
            yield egress
    finally:
        transport.close()


async def test_a_name_that_does_not_exist_is_a_dns_error() -> None:
    """NXDOMAIN is an outcome of its own."""
    async with egress_by(NameServer(lambda _name, _count: None)) as egress:
        result = await attempt(egress, "http://gone.test/")
    assert result.outcome is Outcome.DNS_ERROR


async def test_a_name_that_rebinds_reaches_no_denied_address() -> None:
    """The address is checked where it is dialled: what a name said before is worth nothing."""

    def answers(_name: str, count: int) -> list[str]:
        return ["127.0.0.1"] if count == 1 else ["127.0.0.2"]

    names = NameServer(answers)
    hits: list[str] = []
    async with (
        listening(answering(OK)) as allowed,
        listening(answering(OK)) as other,
        egress_by(names, deny="127.0.0.2/32") as egress,
    ):
        denied = await asyncio.start_server(
            lambda _reader, writer: hits.append(str(writer)), "127.0.0.2", other.port
        )
        first = await attempt(egress, f"http://rebinds.test:{allowed.port}/")
        # Another port, for which the name is asked anew.
        second = await attempt(egress, f"http://rebinds.test:{other.port}/")
        denied.close()
    assert first.outcome is Outcome.DELIVERED
    assert (second.outcome, second.error) == (
        Outcome.BLOCKED_ADDRESS,
        "rebinds.test: 127.0.0.2 is denied by `egress`",
    )
    assert names.asked["rebinds.test"] == 2
    assert hits == []


async def test_a_name_with_good_and_bad_addresses_reaches_the_good_one() -> None:
    """A denied address among others is passed over."""
    names = NameServer(lambda _name, _count: ["127.0.0.2", "127.0.0.1"])
    async with listening(answering(OK)) as server, egress_by(names, deny="127.0.0.2/32") as egress:
        for _ in range(4):
            result = await attempt(egress, f"http://mixed.test:{server.port}/")
            assert result.outcome is Outcome.DELIVERED


async def test_where_every_address_fails_a_denied_one_is_named() -> None:
    """Of several addresses of which none was reached, the operator hears of the one that was blocked."""
    names = NameServer(lambda _name, _count: ["127.0.0.2", "127.0.0.1", "::ffff:127.0.0.2"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with egress_by(names, deny="127.0.0.2/32") as egress:
            result = await attempt(egress, f"http://mixed.test:{taken.getsockname()[1]}/")
    assert result.outcome is Outcome.BLOCKED_ADDRESS
    assert result.error is not None
    assert "127.0.0.2" in result.error


async def test_a_slow_name_server_does_not_hold_the_loop() -> None:
    """While many names are asked for in vain, the loop turns and other deliveries arrive."""
    names = NameServer(lambda _name, _count: ["127.0.0.1"], delay=30.0)
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not done:
            before = perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, perf_counter() - before)

    async with egress_by(names) as egress, listening(answering(OK)) as server:
        watcher = asyncio.create_task(watch())
        slow = [
            asyncio.create_task(attempt(egress, f"http://slow-{number}.test/", total=1.5))
            for number in range(20)
        ]
        while not all(task.done() for task in slow):
            assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
            await asyncio.sleep(0.05)
        done = True
        await watcher
    assert {task.result().outcome for task in slow} == {Outcome.TIMEOUT}
    # A resolver that holds the loop would do so for the whole 1.5 s.
    assert longest < 1.0
