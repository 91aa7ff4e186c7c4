"""What strangers name once is not kept for ever."""

from __future__ import annotations

import gc
import tracemalloc

from relay.egress import Egress
from relay.egress.attempt_input import AttemptInput
from relay.egress.caching import cache_short
from relay.model import Outcome
from tests.unit.egress_helpers import OK, answering, api, attempt_input, destination, listening, rules

LONG = 20_000
MANY = 250


def test_short_texts_are_remembered_and_long_ones_are_not() -> None:
    """The function is asked once for a short text, and each time for a long one."""
    asked: list[str] = []

    @cache_short(count=2, longest=3)
    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    for text in ("abc", "abc", "abcd", "abcd", "d", "e", "abc"):
        assert upper(text) == text.upper()
    assert asked == ["abc", "abcd", "abcd", "d", "e", "abc"]


async def kept_after(attempt_inputs: list[AttemptInput]) -> int:
    """The bytes that are still allocated after attempts at all of these."""
    async with listening(answering(OK)) as server, Egress(rules()) as egress:
        out = destination(api(server.url, query=True))
        await egress.send(attempt_input(), out)
        gc.collect()
        tracemalloc.start()
        for one in attempt_inputs:
            assert (await egress.send(one, out)).outcome is Outcome.DELIVERED
            server.heads.clear()
            server.bodies.clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return kept


async def test_long_names_of_headers_are_not_kept() -> None:
    """Names of 20 KB, each another one, leave nothing behind."""
    attempt_inputs = [
        attempt_input(headers=((b"x-%d-" % number + b"n" * LONG, b"1"),)) for number in range(MANY)
    ]
    assert await kept_after(attempt_inputs) < 2_000_000


async def test_long_urls_are_not_kept() -> None:
    """Queries of 20 KB, each another one, leave behind the last 128, which yarl keeps."""
    attempt_inputs = [attempt_input(query=b"%d=" % number + b"q" * LONG) for number in range(MANY)]
    assert await kept_after(attempt_inputs) < 5_000_000
