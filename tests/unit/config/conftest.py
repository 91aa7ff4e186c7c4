"""Configurations from text, and the reports of what is wrong with them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from relay import config
from relay.config import Configuration, Destination, Http
from relay.errors import ConfigError
from relay.expressions import View

Load = Callable[..., Configuration]
Mistakes = Callable[..., list[str]]

VIEW = View(
    source="a",
    event_id="evt_1",
    received_at=0.0,
    method="POST",
    query=b"",
    headers=(),
    body=b'{"id": 7}',
    placeholders={"site": "berlin"},
    parse_limit=2**20,
)
"""An event, for what is rendered from one."""


def http_of(destination: Destination) -> Http:
    """What is written about an HTTP API."""
    assert isinstance(destination.target, Http)
    return destination.target


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a file with this text."""

    def from_text(
        text: str, environ: Mapping[str, str] | None = None, *, allow_unset: bool = False
    ) -> Configuration:
        path = tmp_path / "relay.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return config.load(path, environ or {}, allow_unset=allow_unset)

    return from_text


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """The lines of the report on a file with this text, the folder's name taken off; none if it is valid."""

    def from_text(text: str, environ: Mapping[str, str] | None = None, **options: bool) -> list[str]:
        try:
            load(text, environ, **options)
        except ConfigError as error:
            return str(error).replace(f"{tmp_path}/relay.yaml:", "").splitlines()
        return []

    return from_text
