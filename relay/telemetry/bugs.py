"""Which bugs were reported lately: one that is met a thousand times a second is reported once."""

from __future__ import annotations

import traceback

SILENCE = 60.0
"""Seconds after which the same bug is reported again."""

_Bug = tuple[str, str]


class Bugs:
    """One per process; may be asked from any thread."""

    def __init__(self) -> None:
        self._reported: dict[_Bug, float] = {}

    def is_new(self, error: BaseException, now: float) -> bool:
        """Whether an error is to be reported: none of its type was, from the same place, within a minute.

        The place is the line that raised it and the one that called that: a library raises for many.
        """
        raised_at = traceback.extract_tb(error.__traceback__)[-2:]
        bug = (type(error).__qualname__, " ".join(f"{frame.filename}:{frame.lineno}" for frame in raised_at))
        known = self._reported
        if now - known.get(bug, now - SILENCE) < SILENCE:
            return False
        self._reported = {one: at for one, at in known.items() if now - at < SILENCE} | {bug: now}
        return True
