"""Fills in `${NAME}`, `${NAME:-default}` and `${file:PATH}` after the parse: no value can add keys."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config.yaml.fingerprint import Used
from relay.config.yaml.nodes import Entry, Interpolated, Items, Leaf, Node, Table, join
from relay.config.yaml.report import Report, nearest, quoted
from relay.signatures import SAMPLE

# `${{` is a dollar sign before a hole, and `$${` writes a literal `${`.
_REFERENCE = re.compile(r"\$\$\{(?!\{)|\$\{(?!\{)(?P<inside>[^}\n]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-.*)?")
_BIGGEST_FILE = 1024 * 1024

STAND_IN = SAMPLE.decode()
"""What stands for an unset variable, so that the rest can still be checked; base64, as some keys are."""


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Where values come from: the environment, and files beside the YAML file or anywhere else.

    Of an `environ` of None nobody knows anything: every variable gets a stand-in.
    """

    environ: Mapping[str, str] | None
    folder: Path
    allow_unset: bool
    report: Report
    used: Used

    def fill(self, node: Node, key: str = "") -> Node:
        """The same tree with every reference replaced."""
        match node:
            case Leaf(value=str() as text) if "${" in text:
                return Leaf(node.place, self._text(text, node, key), None)
            case Leaf():
                return node
            case Items():
                filled = (self.fill(item, f"{key}[{index}]") for index, item in enumerate(node.nodes))
                return Items(node.place, tuple(filled))
            case Table():
                entries = {
                    name: Entry(entry.place, self.fill(entry.node, join(key, name)))
                    for name, entry in node.entries.items()
                }
                return Table(node.place, entries)

    def _text(self, text: str, leaf: Leaf, key: str) -> str:
        pieces: list[str] = []
        values: list[tuple[str, str]] = []
        position, unset, filled = 0, False, False
        known = len(self.report.mistakes)
        for found in _REFERENCE.finditer(text):
            pieces.append(text[position : found.start()])
            position = found.end()
            if found["inside"] is None:
                pieces.append("${")
                continue
            filled = True
            value = self._value(found["inside"] if found["end"] else "", leaf, key)
            self.used.add_value(value)
            unset = unset or value is None
            pieces.append(STAND_IN if value is None else value)
            values.append((pieces[-1], found[0]))
        pieces.append(text[position:])
        if len(self.report.mistakes) > known:
            self.report.spoiled.add(leaf.place)
        whole = "".join(pieces)
        if not filled:
            return whole
        made = Interpolated(whole, written=text, unset=unset, values=tuple(values))
        self.used.hidden[whole] = made.hidden
        return made

    def _value(self, inside: str, leaf: Leaf, key: str) -> str | None:
        if inside.startswith("file:"):
            return self._file(inside.removeprefix("file:").strip(), leaf, key)
        found = _NAME.fullmatch(inside)
        if found is None:
            message = "expected ${NAME}, ${NAME:-default} or ${file:PATH}; $${ writes a literal ${"
            self.report.add(leaf.place, message, key=key)
            return None
        if self.environ is None:
            return None
        value = self.environ.get(found["name"])
        if found["fallback"] is not None:
            return value or found["fallback"][2:]
        if value is None and not self.allow_unset:
            self.report.unset.append(found["name"])
            close = nearest(found["name"], self.environ)
            message = f"the environment variable {found['name']} is not set"
            self.report.add(leaf.place, message, key=key, nearest=close)
        return value

    def _file(self, name: str, leaf: Leaf, key: str) -> str | None:
        self.used.files.append(self.folder / name)
        try:
            with open(self.folder / name, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ValueError(name)  # noqa: TRY301 - one report for all
                content = file.read(_BIGGEST_FILE + 1)
        except (OSError, ValueError) as error:
            if self.allow_unset and isinstance(error, FileNotFoundError | PermissionError):
                return None
            reason = (
                os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no regular file"
            )
            message = f"the file {quoted(name)} cannot be read: {reason}"
            self.report.add(leaf.place, message, key=key)
            return None
        try:
            if len(content) <= _BIGGEST_FILE:
                return content.decode().rstrip("\r\n")
            reason = "larger than 1MiB"
        except UnicodeDecodeError:
            reason = "not UTF-8 text"
        self.report.add(leaf.place, f"the file {quoted(name)} is {reason}", key=key)
        return None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting: a pipe that nobody writes would hold up all reloads, and the end."""
    return os.open(path, flags | os.O_NONBLOCK)
