"""Configurations from text, and the reports of what is wrong with them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from relay import config
from relay.config import Configuration
from relay.errors import ConfigError

Load = Callable[..., Configuration]
Mistakes = Callable[..., list[str]]


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
