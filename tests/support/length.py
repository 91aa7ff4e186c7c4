"""How long an experiment takes: short with the other tests, in full length under `make faults`."""

from __future__ import annotations

from dataclasses import dataclass

SHORT = 0.2
"""A lease of 30 s is one of 6 s: long enough to be renewed on a machine that is busy otherwise."""


@dataclass(frozen=True, slots=True)
class Length:
    """Times and numbers of an experiment."""

    full: bool

    @property
    def env(self) -> dict[str, str]:
        """The environment of a service whose leases, looks and rescues are as long as the experiment."""
        return {} if self.full else {"RELAY_TIME_SCALE": str(SHORT)}

    def seconds(self, full: float) -> float:
        """How long to wait for what takes so many seconds in a service of full length."""
        return full if self.full else full * SHORT

    def count(self, full: int, *, short: int) -> int:
        """How many of something."""
        return full if self.full else short
