"""Caches whose keys strangers write: bounded in bytes as well as in number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K", str, bytes)
V = TypeVar("V")


def cache_short(*, count: int, longest: int) -> Callable[[Callable[[K], V]], Callable[[K], V]]:
    """Remember what a function of one text gave, for the `count` latest texts of at most `longest` each.

    A name of 60 KB is legal in a header and in a URL; a cache that counts entries alone keeps it for ever.
    """

    def decorate(function: Callable[[K], V]) -> Callable[[K], V]:
        # What is remembered is found without running any Python, ten times an event.
        return _Short(function, count=count, longest=longest).__getitem__

    return decorate


class _Short(dict[K, V], Generic[K, V]):
    """What a function gave; it is asked where nothing is remembered. The first that came goes first."""

    def __init__(self, function: Callable[[K], V], *, count: int, longest: int) -> None:
        super().__init__()
        self._function: Callable[[K], V] = function
        self._count = count
        self._longest = longest

    def __missing__(self, text: K) -> V:
        value = self._function(text)
        if len(text) <= self._longest:
            if len(self) >= self._count:
                del self[next(iter(self))]
            self[text] = value
        return value
