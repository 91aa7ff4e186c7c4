"""Which addresses may be dialled, in every way in which one can be written."""

from __future__ import annotations

import socket

import pytest

from relay.egress import BlockedAddress, Egress, Guard
from relay.egress.dial.guard import watch
from relay.model import Outcome
from tests.unit.egress_helpers import OK, answering, attempt, listening, rules

METADATA = "169.254.0.0/16 fe80::/10"


@pytest.mark.parametrize(
    ("deny", "address"),
    [
        (METADATA, "169.254.169.254"),
        (METADATA, "fe80::1"),
        (METADATA, "fe80::1%eth0"),
        (METADATA, "::ffff:169.254.169.254"),
        (METADATA, "::169.254.169.254"),
        (METADATA, "::ffff:0:169.254.169.254"),
        (METADATA, "64:ff9b::a9fe:a9fe"),
        (METADATA, "64:ff9b:1::a9fe:a9fe"),
        (METADATA, "64:ff9b:1:a9fe:a9:fe00::"),
        (METADATA, "64:ff9b:1:a9:fe:a9fe::"),
        (METADATA, "64:ff9b:1:7:a9:fea9:fe00:0"),
        (METADATA, "64:ff9b:1:a9fe:a9:fe00::5"),
        (METADATA, "2002:a9fe:a9fe::1"),
        (METADATA, "2001:0:a9fe:a9fe:8000:f227:f7f7:f7f7"),
        (METADATA, "2001:0:808:808:8000:f227:5601:5601"),
        (METADATA, "2001:db8::5efe:a9fe:a9fe"),
        (METADATA, "2001:db8::200:5efe:a9fe:a9fe"),
        (METADATA, "2002:808:808::5efe:a9fe:a9fe"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("127.0.0.0/8", "64:ff9b::7f00:1"),
        ("127.0.0.0/8", "0.0.0.0"),
        ("127.0.0.0/8", "::ffff:0.0.0.0"),
        ("::1/128", "::"),
        ("64:ff9b::/96", "64:ff9b::808:808"),
        ("0.0.0.0/0 ::/0", "8.8.8.8"),
        ("0.0.0.0/0 ::/0", "2001:db8::1"),
    ],
)
def test_a_denied_address_is_denied_in_every_form(deny: str, address: str) -> None:
    """An address is unwrapped from whatever carries it before it is looked up."""
    with pytest.raises(BlockedAddress) as caught:
        Guard(rules(deny=deny)).check(address)
    assert caught.value.address == address


@pytest.mark.parametrize(
    ("deny", "allow", "address"),
    [
        (METADATA, "", "10.0.0.1"),
        (METADATA, "", "::1"),
        ("0.0.0.0/0", "", "::1"),
        (METADATA, "", "2001:db8::a9fe:a9fe"),
        (METADATA, "", "2001:db8::100:5efe:a9fe:a9fe"),
        (METADATA, "", "2001:0:808:808:8000:f227:f7f7:f7f7"),
        ("127.0.0.0/8", "", "64:ff9b:1::808:808"),
        ("127.0.0.0/8", "", "64:ff9b:1:7:8:808:800:0"),
        ("", "", "127.0.0.1"),
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.0.0/16", "::ffff:10.1.2.3"),
        ("0.0.0.0/0", "10.0.0.0/8", "10.1.2.3"),
    ],
)
def test_all_else_may_be_dialled(deny: str, allow: str, address: str) -> None:
    """What no rule denies is free, and so is what `allow` takes out of it."""
    Guard(rules(deny=deny, allow=allow)).check(address)


def test_an_exception_covers_no_more_than_it_says() -> None:
    """An address outside `allow` stays denied."""
    with pytest.raises(BlockedAddress):
        Guard(rules(deny="10.0.0.0/8", allow="10.1.0.0/16")).check("10.2.0.1")


def test_a_socket_is_made_for_an_allowed_address_alone() -> None:
    """The factory makes the socket that is asked for, or notes what it blocked and raises."""
    guard = Guard(rules(deny=METADATA))
    blocked = watch()
    with guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(BlockedAddress):
        guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))
    assert blocked == ["169.254.169.254"]


def test_only_a_literal_is_checked_where_others_resolve() -> None:
    """Before a proxy a name passes, an address does not."""
    guard = Guard(rules(deny=METADATA))
    guard.check_literal("metadata.internal")
    with pytest.raises(BlockedAddress):
        guard.check_literal("169.254.169.254")


async def test_an_attempt_on_a_denied_address_is_an_outcome() -> None:
    """Nothing is dialled, and the error names the address."""
    async with listening(answering(OK)) as server, Egress(rules(deny="127.0.0.0/8")) as egress:
        result = await attempt(egress, f"{server.url}/hush")
        mapped = await attempt(egress, f"http://[::ffff:127.0.0.1]:{server.port}/hush")
        named = await attempt(egress, f"http://localhost:{server.port}/hush")
    assert (result.outcome, result.error) == (
        Outcome.BLOCKED_ADDRESS,
        "127.0.0.1 is denied by `egress`",
    )
    assert mapped.outcome is Outcome.BLOCKED_ADDRESS
    assert named.outcome is Outcome.BLOCKED_ADDRESS
    assert named.error is not None
    assert named.error.startswith("localhost: ")
    assert server.connections == 0


async def test_new_rules_hold_for_connections_that_are_open() -> None:
    """After a change of the rules no request goes out on a connection that the old ones allowed."""
    async with listening(answering(OK)) as server, Egress(rules()) as egress:
        assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
        egress.replace(rules(deny="127.0.0.0/8"))
        assert (await attempt(egress, server.url)).outcome is Outcome.BLOCKED_ADDRESS
        egress.replace(rules())
        assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
    assert server.connections == 2


async def test_the_same_rules_keep_the_connections() -> None:
    """A reload that leaves `egress` alone costs no connection."""
    async with listening(answering(OK)) as server, Egress(rules()) as egress:
        for _ in range(3):
            egress.replace(rules())
            assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
    assert server.connections == 1
