"""Caches whose keys strangers write: bounded in bytes as well as in number."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache  # noqa: TID251 - it gets short keys alone
from typing import TypeVar

K = TypeVar("K", str, bytes)
V = TypeVar("V")


def cache_short(*, count: int, longest: int) -> Callable[[Callable[[K], V]], Callable[[K], V]]:
    """Remember what a function of one text gave, for the `count` latest texts of at most `longest` each.

    A name of 60 KB is legal in a header and in a URL; a cache that counts entries alone keeps it for ever.
    """

    def decorate(function: Callable[[K], V]) -> Callable[[K], V]:
        remembered = lru_cache(maxsize=count)(function)

        def answer(text: K) -> V:
            return remembered(text) if len(text) <= longest else function(text)

        return answer

    return decorate
