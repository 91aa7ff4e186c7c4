"""What processes tell each other through the journal: what changed, and who goes by it."""

from __future__ import annotations

import asyncio

from relay.journal import Journal, Peer, Reader
from tests.journal.making import NOW, StillClock, make_entry, opened


async def test_requests_to_reload_are_numbered(journal: Journal, engine: str) -> None:
    """Each counts, whoever makes it, and every process sees the last number."""
    assert await journal.reload_number() == 0
    with opened(engine, serving=False) as command:
        numbers = await asyncio.gather(*(one.request_reload() for one in (journal, command) * 5))
        assert sorted(numbers) == list(range(1, 11))
        assert await command.reload_number() == await journal.reload_number() == 10


async def test_a_node_tells_what_it_has_in_force(journal: Journal, reader: Reader, engine: str) -> None:
    """Its digest, the request it saw through, and why it refused the file; a command tells nothing."""
    (before,) = reader.status().nodes
    assert (before.config, before.reload, before.config_error) == (None, None, None)
    await journal.note_config(digest="abc", reload=1, error="no such \ud800")
    with opened(engine, serving=False) as command:
        await command.note_config(digest="xyz", reload=2, error=None)
    (node,) = reader.status().nodes
    assert (node.config, node.reload, node.config_error) == ("abc", 1, "no such \ud800")
    await journal.note_config(digest="def", reload=2, error=None)
    (node,) = reader.status().nodes
    assert (node.config, node.reload, node.config_error) == ("def", 2, None)


async def test_changes_are_numbered_and_each_node_tells_which_it_has_taken(
    journal: Journal, reader: Reader, engine: str, clock: StillClock
) -> None:
    """A number is never newer than what is read with it; a command has no row, and takes nothing."""
    first = await journal.look(owned=False)
    assert (first.change, first.standings, first.owned) == (0, {}, None)
    assert first.peers == (Peer(node=journal.node, change=None, answers=True),)
    with opened(engine, serving=False, clock=clock) as command:
        assert (await command.pause("billing", reason="operator")).number == 1
        assert (await command.pause("billing", reason="again")).number == 1, (
            "nothing is new, and all may know"
        )
        await command.note_change(1)
        look = await journal.look(owned=False)
        assert (look.change, look.standings["billing"].paused_at) == (1, NOW)
        assert [one.has_taken(1) for one in look.peers] == [True], "who has not looked begins nothing"
        await journal.note_change(1)
        assert (await command.resume("billing")).number == 2
        (peer,) = (await journal.look(owned=False)).peers
        assert (peer.change, peer.has_taken(1), peer.has_taken(2)) == (1, True, False)
    assert [one.change for one in reader.nodes()] == [1]
    with opened(engine, clock=clock) as other:
        assert await other.join() == 3
        assert {one.node: one.change for one in (await journal.look(owned=False)).peers} == {
            journal.node: 1,
            other.node: 3,
        }


async def test_a_look_counts_what_each_node_owns_of_each_destination(journal: Journal, engine: str) -> None:
    """With it a node can tell who has more under way than its part."""
    with opened(engine) as other:
        for owner in (journal.node, journal.node, other.node, None):
            await journal.append(make_entry("billing", owner=owner))
        await journal.append(make_entry("stock", owner=other.node))
        assert (await journal.look(owned=True)).owned == {
            ("billing", journal.node): 2,
            ("billing", other.node): 1,
            ("stock", other.node): 1,
        }
