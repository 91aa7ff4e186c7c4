"""What a configuration was made of: every file that was read, and a hash of every value filled in."""

from __future__ import annotations

import hashlib
from pathlib import Path

from relay.expressions import Hidden


class Used:
    """Gathers, while the files are read, what tells whether reading them again would change anything."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.hidden: dict[str, Hidden] = {}
        """What was filled in, by the whole text: pydantic makes plain text of every other mark."""
        self._text = hashlib.sha256()
        self._values = hashlib.sha256()

    def add_text(self, name: str, text: str) -> None:
        """Take in a YAML file as it is written."""
        self._text.update(f"{name}\0{len(text)}\0{text}".encode())

    def add_value(self, value: str | bytes | None) -> None:
        """Take in the value of a variable, or the content of a file."""
        content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        self._values.update(b"-" if content is None else b"%d:" % len(content) + content)

    @property
    def digest(self) -> str:
        """16 hex characters of a hash of the text alone, in which no secret is."""
        return self._text.hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        """A hash of the text and of the values: for comparison only, since weak secrets could be guessed."""
        return hashlib.sha256(self._text.digest() + self._values.digest()).hexdigest()
