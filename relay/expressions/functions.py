"""The functions that expressions have beyond CEL's own: get, lower, upper, split, replace and sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

MAX_PARTS = 1_000
ROOM = 4 << 20
ROOM_IN_MACRO = 64 << 10
_DIGITS = 9

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a bool"),
    (str, "a text"),
    (int, "an integer"),
    (float, "a number"),
    (dict, "a map"),
    (list, "a list"),
    (bytes, "bytes"),
    (datetime, "a timestamp"),
    (timedelta, "a duration"),
)


def kind(value: object) -> str:
    """Name the type of a value as its sender would: a text, a map, null."""
    if value is None:
        return "null"
    return next((name for one, name in _KINDS if isinstance(value, one)), type(value).__name__)


class Functions:
    """The functions for one evaluation; `failure` says what went wrong in the first that failed.

    They never raise: the CEL package prints what a Python function raises to stderr, where text of
    a sender's making has no business. `room` bounds the characters that they make in all, since
    `replace` could make a thousand gigabytes out of one megabyte.
    """

    __slots__ = ("_room", "failure")

    def __init__(self, room: int) -> None:
        self._room = room
        self.failure: str | None = None

    def table(self, names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
        """Return the functions of these names, to be handed to CEL."""
        return {name: getattr(self, f"_{name}") for name in names}

    def _fail(self, message: str) -> None:
        self.failure = self.failure or message

    def _texts(self, name: str, *values: object) -> bool:
        for value in values:
            if not isinstance(value, str):
                self._fail(f"{name}() takes text, not {kind(value)}")
                return False
        return True

    def _fits(self, name: str, size: int) -> bool:
        self._room -= size
        if self._room < 0:
            self._fail(f"{name}() makes too long a text")
            return False
        return True

    def _get(self, value: object, path: object, default: object = None) -> object:
        if not isinstance(path, str):
            self._fail(f"get() takes its path as text, not {kind(path)}")
            return None
        for key in path.split("."):
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif (
                isinstance(value, list) and key.isdecimal() and len(key) <= _DIGITS and int(key) < len(value)
            ):
                value = value[int(key)]
            else:
                return default
        return value

    def _lower(self, text: Any) -> str | None:
        return text.lower() if self._texts("lower", text) and self._fits("lower", len(text)) else None

    def _upper(self, text: Any) -> str | None:
        return text.upper() if self._texts("upper", text) and self._fits("upper", len(text)) else None

    def _split(self, text: Any, separator: Any) -> list[str] | None:
        if not self._texts("split", text, separator) or not self._fits("split", len(text)):
            return None
        parts = text.split(separator, MAX_PARTS) if separator else list(text[: MAX_PARTS + 1])
        if len(parts) > MAX_PARTS:
            self._fail(f"split() makes more than {MAX_PARTS:,} parts")
            return None
        return parts

    def _replace(self, text: Any, old: Any, new: Any) -> str | None:
        if not self._texts("replace", text, old, new):
            return None
        size = len(text) + text.count(old) * (len(new) - len(old))
        return text.replace(old, new) if self._fits("replace", size) else None

    def _sha256(self, value: Any) -> str | None:
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        return hashlib.sha256(value.encode()).hexdigest() if self._texts("sha256", value) else None
