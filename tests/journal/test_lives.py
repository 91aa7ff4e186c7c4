"""A node on SQLite lives as long as its file is locked, whatever somebody does to the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay.errors import JournalUnavailable
from relay.journal import Journal, Reader, Rescued
from relay.journal.writes import nodes
from relay.lease_times import TIMES
from tests.journal.making import NOW, Told, make_entry, make_settlement, only, opened, path_of

pytestmark = only("sqlite", "on PostgreSQL a node's life is its row")


@pytest.fixture
def other(engine: str, journal: Journal) -> Iterator[Journal]:
    """Another node on the same file."""
    with opened(engine) as other:
        yield other


async def until(what: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


def life_of(node: Journal, url: str) -> Path:
    """The file by which a node shows that it lives."""
    return path_of(url).with_name(f"relay.db.node-{node.node}")


def living(reader: Reader) -> set[str]:
    """The nodes that `relay status` takes for alive."""
    return {one.id for one in reader.status().nodes if one.alive}


async def test_a_node_whose_file_was_deleted_is_left_alone_and_makes_it_again(
    journal: Journal, other: Journal, reader: Reader, engine: str
) -> None:
    """Neither before it has noticed nor afterwards is anything taken from it."""
    entry = make_entry("billing", owner=other.node)
    await other.append(entry)
    file = life_of(other, engine)
    for _ in range(2):
        file.unlink()
        assert await journal.rescue() == []
        assert other.node in await journal.living()
        await until(file.exists)
        assert await journal.rescue() == []
        assert living(reader) == {journal.node, other.node}
    assert (await other.settle(make_settlement(entry.deliveries[0]))).done


async def test_a_node_whose_file_was_moved_lives_also_when_it_is_moved_back(
    journal: Journal, other: Journal, reader: Reader, engine: str, tmp_path: Path
) -> None:
    """Both files are locked as long as the process lives."""
    await other.append(make_entry("billing", owner=other.node))
    file = life_of(other, engine)
    file.rename(tmp_path / "elsewhere")
    await until(file.exists)
    (tmp_path / "elsewhere").rename(file)
    assert await journal.rescue() == []
    assert living(reader) == {journal.node, other.node}


async def test_a_node_that_was_taken_for_dead_is_a_node_again(
    journal: Journal, other: Journal, reader: Reader, engine: str
) -> None:
    """A file that it has not locked took the place of its own: what it held then is lost to it, once."""
    await other.note_config(digest="abc", reload=1, error=None)
    first = make_entry("billing", owner=other.node)
    await other.append(first)
    file = life_of(other, engine)
    rescued: list[Rescued] = []
    while not rescued:  # it may have noticed already, and made its own again
        file.unlink(missing_ok=True)
        file.touch()
        rescued = await journal.rescue()
    assert [one.owner for one in rescued] == [other.node]
    assert not (await other.settle(make_settlement(first.deliveries[0]))).done
    await until(lambda: living(reader) == {journal.node, other.node})
    assert {one.config for one in reader.status().nodes if one.id == other.node} == {"abc"}
    await other.append(make_entry("billing", owner=other.node))
    assert await journal.rescue() == []


async def test_a_node_that_is_gone_with_its_file_is_dead_in_a_while(engine: str) -> None:
    """As in a journal that was restored without the files beside it."""
    entry = make_entry("billing", owner="gone")
    rescued: list[Rescued] = []
    with opened(engine, times=replace(TIMES, tick=0.1, file_absent=0.5)) as journal:
        await journal.append(entry)
        await journal._do(lambda tx: nodes.register(tx.connection, node="gone", now=NOW))
        assert await journal.rescue() == []
        async with asyncio.timeout(20):
            while not rescued:
                rescued = await journal.rescue()
    assert [one.delivery_id for one in rescued] == [entry.deliveries[0].id]


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """As if this process had as many files open as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208 - names are all it takes
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_node_that_has_no_descriptor_left_takes_nobody_for_dead(
    journal: Journal, other: Journal, engine: str, hooks: Told
) -> None:
    """Nor is it an outage of the journal: events are taken, and attempts end."""
    entry = make_entry("billing", owner=other.node)
    await other.append(entry)
    with no_descriptors():
        assert await journal.rescue() == []
        assert set(await journal.living()) == {journal.node, other.node}
        await journal.append(make_entry("billing"))
        assert (await other.settle(make_settlement(entry.deliveries[0]))).done
    assert hooks.troubles == []


async def test_a_reader_that_has_no_descriptor_left_says_so(journal: Journal, engine: str) -> None:
    """Not that the file cannot be opened."""
    with (
        Reader.open(engine) as reader,
        no_descriptors(),
        pytest.raises(JournalUnavailable, match="may have no more: raise `ulimit -n`"),
    ):
        reader.events()
