"""The metrics of several processes on one page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Metric

Families = Sequence[Any]
"""A registry as JSON has it: [name, text, type, [[sample, {label: value}, number], …]] for each metric."""

LOOKED_UP = frozenset(
    {
        "relay_backlog",
        "relay_oldest_pending_seconds",
        "relay_dead",
        "relay_breaker_open",
        "relay_paused",
        "relay_journal_bytes",
        "relay_disk_free_bytes",
    }
)
"""Gauges of what all processes share: whoever looked last knows them all, and nothing is to be added."""

_Combine = Callable[[float, float], float]
_Labels = tuple[tuple[str, str], ...]


def _sum(one: float, other: float) -> float:
    return one + other


_OF_ALL: Mapping[str, _Combine] = {
    "relay_last_event_timestamp": max,
    "relay_ledger_imbalance": max,
    "relay_config_ok": min,
}
"""How the other gauges are of all: the newest, and the worst."""

_OUTLIVES = frozenset({"relay_last_event_timestamp"})
"""Gauges that stay true when their process is gone; counters and histograms all do."""


@dataclass(slots=True)
class _Family:
    text: str
    type: str
    samples: dict[tuple[str, _Labels], float] = field(default_factory=dict)


def families(registry: CollectorRegistry) -> Families:
    """Every metric of a registry with its samples, for another process."""
    return [
        [one.name, one.documentation, one.type, [sample[:3] for sample in one.samples]]
        for one in registry.collect()
    ]


class Totals:
    """What processes said last, added up; a process that is gone keeps its counts in the sums.

    A sum that fell would look to Prometheus as if all had started anew.
    """

    def __init__(self) -> None:
        self._living: dict[int, Families] = {}
        self._past: dict[str, _Family] = {}
        self._looked: dict[str, _Family] = {}

    def note(self, process: int, found: Families, *, looked: bool) -> None:
        """Take what a process says; `looked` if it brought the shared gauges up to date before."""
        self._living[process] = [one for one in found if one[0] not in LOOKED_UP]
        if looked:
            self._looked = {}
            _add(self._looked, [one for one in found if one[0] in LOOKED_UP])

    def forget(self, process: int) -> None:
        """Keep the counts of a process that is gone."""
        found = self._living.pop(process, ())
        _add(self._past, [one for one in found if _outlives(one[0], one[2])])

    def collect(self) -> Iterator[Metric]:
        """Every metric, as a registry gives them."""
        found = {name: _Family(one.text, one.type, {**one.samples}) for name, one in self._past.items()}
        for process in self._living.values():
            _add(found, process)
        for name, one in {**found, **self._looked}.items():
            metric = Metric(name, one.text, one.type)
            for (sample, labels), value in one.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _outlives(name: str, kind: str) -> bool:
    return kind in {"counter", "histogram"} or name in _OUTLIVES


def _add(sums: dict[str, _Family], found: Iterable[Any]) -> None:
    for name, text, kind, samples in found:
        into = sums.setdefault(name, _Family(text, kind)).samples
        combine = _OF_ALL.get(name, _sum if kind in {"counter", "histogram"} else max)
        for sample, labels, value in samples:
            key = (sample, tuple(labels.items()))
            # When a counter was made: since then it counts, whichever process it was.
            how = min if sample.endswith("_created") else combine
            into[key] = how(into[key], value) if key in into else value
