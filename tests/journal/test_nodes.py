"""What processes tell each other through the journal: take the file anew, and which one is in force."""

from __future__ import annotations

import asyncio

from relay.journal import Journal, Reader
from tests.journal.making import opened


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
