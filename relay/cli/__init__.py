"""The command line: `relay COMMAND`."""

from __future__ import annotations

from relay.cli.app import main

__all__ = ["main"]
