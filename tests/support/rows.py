"""Tests of the rows of a table, where a test of its own for each costs more than what it does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def each(name: str, rows: Iterable[object]) -> Callable[[Test], Test]:
    """Run a test for one row after another, as its argument `name`; a failure says which row it is of."""
    rows = tuple(rows)
    assert rows, "a test of no row proves nothing"

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def of_all(**fixtures: Any) -> None:
            for row in rows:
                try:
                    test(**fixtures, **{name: row})
                except BaseException as error:
                    error.add_note(f"with {name}={row!r}")
                    raise

        signature = inspect.signature(test)
        left = [one for one in signature.parameters.values() if one.name != name]
        of_all.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return of_all

    return decorate
