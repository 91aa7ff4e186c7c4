"""Each node's part of the limits: all parts together are never more than the limit, whoever comes or goes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from relay.dispatch.gate import Gate
from relay.dispatch.shares import Shares
from relay.journal import Look, Peer
from relay.lease_times import TIMES
from relay.limits import Share
from relay.model import Standing
from tests.unit.test_dispatch_gate import NOW, destination


def look(
    *peers: tuple[str, int | None], change: int = 1, owned: Mapping[str, int] | None = None, older: str = ""
) -> Look:
    """What a node has found: who lives and has taken what, and what they own of `out`."""
    return Look(
        change=change,
        peers=tuple(Peer(node=name, change=taken, answers=name != older) for name, taken in peers),
        standings={},
        owned={("out", name): number for name, number in (owned or {}).items()},
    )


class Node:
    """A node's share and its gate."""

    def __init__(self, name: str, concurrency: int = 16) -> None:
        self.shares = Shares(name, TIMES)
        self.gate = Gate(destination(concurrency=concurrency), Standing(name="out"), self.shares.share)

    def take(self, found: Look, now: float = NOW) -> int:
        """Go by it; how many slots there are then."""
        self.shares.take(found, (self.gate,), now)
        return self.gate.slots.concurrency


def test_who_is_alone_has_all_at_once() -> None:
    """Nobody has to make room."""
    one = Node("a")
    assert one.gate.slots.concurrency == 0
    assert one.take(look(("a", 1))) == 16
    assert one.shares.is_settled


def test_who_comes_waits_no_longer_than_an_attempt_takes() -> None:
    """A busy node owns more than its part at every look, since an end is written after its slot is free."""
    one = Node("b")
    busy = {"a": 9}
    assert one.take(look(("a", 7), ("b", 7), change=7, owned=busy)) == 0
    assert one.take(look(("a", 7), ("b", 7), change=7, owned=busy), NOW + 30) == 0
    assert one.take(look(("a", 7), ("b", 7), change=7, owned=busy), NOW + 32) == 8


@pytest.mark.parametrize("concurrency", [1, 16])
def test_who_comes_waits_for_all_others(concurrency: int) -> None:
    """Until each says that it goes by the change, and has no more under way than its part."""
    one = Node("b", concurrency)
    part = min(concurrency, 8)
    assert one.take(look(("a", 6), ("b", 7), change=7)) == 0
    too_many = {"a": 9 if concurrency > 1 else 2}
    assert one.take(look(("a", 7), ("b", 7), change=7, owned=too_many)) == 0
    assert one.take(look(("a", 8), ("b", 7), change=8, owned={"a": part})) == part
    assert one.take(look(("a", 8), ("b", 8), change=9, owned=too_many)) == part, "it has its part for good"


def test_who_has_not_looked_yet_has_begun_nothing() -> None:
    """Two that come together do not wait for each other's first look."""
    assert Node("b").take(look(("a", 7), ("b", 7), ("c", None), change=7, owned={})) == 5


def test_who_does_not_answer_is_waited_for_until_it_can_begin_nothing_more() -> None:
    """It may be frozen; a node of an older Relay looks every second as well, and does not say so."""
    for older, within in (("", TIMES.look_stale + TIMES.clocks_drift), ("a", TIMES.older_look)):
        one = Node("b")
        found = look(("a", None if older else 6), ("b", 7), change=7, older=older, owned={})
        assert [one.take(found, at) for at in (NOW, NOW + within - 0.1, NOW + within)] == [0, 0, 8]


def test_a_part_shrinks_at_once_and_grows_when_the_others_are_within_theirs() -> None:
    """Whoever else comes at that moment: it has more under way than its part is now, for a while."""
    one = Node("a")
    one.take(look(("a", 1)))
    assert one.take(look(("a", 1), ("b", 2), change=2)) == 8
    assert one.take(look(("a", 2), ("b", 2), ("c", 3), change=3)) == 6
    assert one.take(look(("a", 3), ("c", 3), change=3, owned={"c": 9})) == 6
    assert one.take(look(("a", 3), ("c", 3), change=3, owned={"c": 8})) == 8
    assert one.take(look(("a", 3), change=3)) == 16


def test_who_was_away_begins_anew() -> None:
    """The others may have taken it for gone, and its part with it."""
    one = Node("a")
    one.take(look(("a", 1), ("b", 1), owned={"b": 0}))
    assert one.gate.slots.concurrency == 8
    one.shares.come((one.gate,))
    assert one.gate.slots.concurrency == 0
    assert one.take(look(("a", 2), ("b", 1), change=2, owned={})) == 0
    assert one.take(look(("a", 2), ("b", 2), change=2, owned={})) == 8


def test_a_share_that_all_have_taken_is_that_of_a_destination_that_comes_with_a_reload() -> None:
    """Its gate has its part from the start; while a node is coming, it has none."""
    one = Node("b")
    for taken, part in ((6, 0), (7, 8)):
        one.take(look(("a", taken), ("b", 7), change=7, owned={}))
        assert (
            Gate(destination(concurrency=16), Standing(name="new"), one.shares.share).slots.concurrency
            == part
        )
    assert one.shares.share == Share(rank=1, nodes=2, taken=True)
