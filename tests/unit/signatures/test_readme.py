"""The table of senders in README.md says of every scheme what it is checked against."""

from __future__ import annotations

import re
from pathlib import Path

from relay.signatures import KINDS
from relay.signatures.providers.table import KNOWN
from tests.unit.signatures.provider_vectors import VECTORS

ROOT = Path(__file__).parents[3]


def readme() -> dict[str, str]:
    """The table of senders: what each scheme is checked against, by its name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Senders\n")[2].partition("\n## ")[0]
    table: dict[str, str] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *_, last = re.split(r"(?<!\\)\|", line.strip("| "))
            for name in re.findall(r"`([^`]+)`", first):
                assert name not in table
                table[name] = last.strip()
    return table


def test_the_readme_names_every_scheme() -> None:
    """Its table of senders has each scheme once, and none that is not there."""
    assert sorted(readme()) == sorted(KINDS)


def test_the_readme_says_what_is_experimental() -> None:
    """Whoever reads the table learns what the log says at start."""
    table = readme()
    for provider in KNOWN:
        assert (table[provider.name] == "experimental") == provider.experimental
        if provider.name in VECTORS:
            assert "vector" in table[provider.name]
