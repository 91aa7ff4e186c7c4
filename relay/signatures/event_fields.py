"""Where a provider writes an event's type and its own id for a delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from relay.model import Request

Parsed = Callable[[], object]
"""Gives the parsed body (JSON, or a form as a map of first values), or None where it is neither."""

_MAX_ITEMS: Final = 10_000
_MAX_BITS: Final = 64  # an id with more is no id, and Python refuses to write out huge integers


class Place(Protocol):
    """One place to look at."""

    def find(self, request: Request, parsed: Parsed) -> str | None:
        """Read what stands there, None if nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class InHeader:
    """The value of a header; `then` names a field of the body that follows it after a dot, if it is there."""

    name: bytes
    then: str | None = None

    def find(self, request: Request, parsed: Parsed) -> str | None:
        """Read the header, and the field of the body where there is one."""
        value = request.header(self.name)
        if not value:
            return None
        head = clean(value.decode("utf-8", "replace"))
        # Looking for the bare name first saves parsing the body of an event that has no such field.
        if self.then is None or f'"{self.then}"'.encode() not in request.body:
            return head
        tail = InBody((self.then,)).find(request, parsed)
        return head if tail is None else f"{head}.{tail}"


@dataclass(frozen=True, slots=True)
class InBody:
    """A field of the parsed body, by its path."""

    path: tuple[str, ...]

    def find(self, request: Request, parsed: Parsed) -> str | None:  # noqa: ARG002 - see Place
        """Read the field; None where a step of the path is missing or it is no text or small integer."""
        return as_text(_walk(parsed(), self.path))


@dataclass(frozen=True, slots=True)
class InBatch:
    """A field that all items of a batch share; `within` is the path of the batch in the body."""

    path: tuple[str, ...]
    within: tuple[str, ...] = ()

    def find(self, request: Request, parsed: Parsed) -> str | None:  # noqa: ARG002 - see Place
        """Read the field; None where the items differ: a mixed batch has no one type and no one id."""
        items = _walk(parsed(), self.within)
        if not isinstance(items, list) or not items:
            return None
        found = {as_text(_walk(item, self.path)) for item in items[:_MAX_ITEMS]}
        return found.pop() if len(found) == 1 and len(items) <= _MAX_ITEMS else None


def _walk(value: object, path: tuple[str, ...]) -> object:
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def first(places: Iterable[Place], request: Request, parsed: Parsed) -> str | None:
    """Read the first place that has something."""
    for place in places:
        found = place.find(request, parsed)
        if found is not None:
            return found
    return None


def as_text(value: object) -> str | None:
    """Give a non-empty text or an integer as text; None for anything else."""
    if isinstance(value, str):
        return clean(value) if value else None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _MAX_BITS:
        return str(value)
    return None


def clean(text: str) -> str:
    """Put U+FFFD for what no database takes: lone surrogates and NUL."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")
