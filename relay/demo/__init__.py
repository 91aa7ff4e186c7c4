"""`relay demo`: the real service, a receiver that fails at first, and signed events through both."""

from __future__ import annotations

from relay.demo.play import run

__all__ = ["run"]
