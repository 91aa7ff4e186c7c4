"""How signature headers are laid out: one signature, a list, or named fields with the time among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol


class Found(NamedTuple):
    """What a signature header holds: its signatures, and the timestamp where it stands among them."""

    candidates: Sequence[bytes]
    timestamp: bytes | None = None


class Form(Protocol):
    """How a signature header is laid out."""

    @property
    def timed(self) -> bool:
        """Tell whether the timestamp stands in it."""
        ...

    def read(self, value: bytes) -> Found:
        """Take a header apart."""
        ...

    def write(self, signature: bytes, timestamp: bytes) -> bytes:
        """Put a header together."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """The header is one signature."""

    timed: bool = False

    def read(self, value: bytes) -> Found:
        """Read the header as it is."""
        return Found((value,))

    def write(self, signature: bytes, timestamp: bytes) -> bytes:  # noqa: ARG002 - see Form
        """Write the signature as it is."""
        return signature


WHOLE: Final = Whole()


@dataclass(frozen=True, slots=True)
class Listed:
    """The header is a list of signatures, with blanks or a separator between them."""

    separator: bytes | None = None
    timed: bool = False

    def read(self, value: bytes) -> Found:
        """Read every item of the list."""
        return Found([item.strip() for item in value.split(self.separator)])

    def write(self, signature: bytes, timestamp: bytes) -> bytes:  # noqa: ARG002 - see Form
        """Write a list of one."""
        return signature


@dataclass(frozen=True, slots=True)
class Fields:
    """The header is `name=value` fields, the timestamp among them and signatures maybe several times.

    time       stands before the timestamp; where it is empty, the first field is the timestamp
    separator  stands between fields
    groups     stands between groups of fields, where a sender that rolls its keys writes several
    """

    time: bytes = b"t="
    separator: bytes = b","
    groups: bytes = b""
    timed: bool = True

    def read(self, value: bytes) -> Found:
        """Read every field, and the first timestamp: it is the one that is signed, or nothing verifies."""
        if self.groups:
            value = value.replace(self.groups, self.separator)
        items = [item.strip() for item in value.split(self.separator)]
        stamp = next((item for item in items if item.startswith(self.time)), None)
        return Found(items, None if stamp is None else stamp[len(self.time) :])

    def write(self, signature: bytes, timestamp: bytes) -> bytes:
        """Write the timestamp and one signature."""
        return self.time + timestamp + self.separator + signature
