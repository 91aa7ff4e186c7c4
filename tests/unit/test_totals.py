"""The metrics of several processes added up."""

from __future__ import annotations

import io
import json
from typing import Any

from prometheus_client import Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from relay.telemetry import Telemetry
from relay.telemetry.multiprocess import _OF_ALL, LOOKED_UP, Totals, families


class Process:
    """One worker's metrics, which come over the wire as JSON."""

    def __init__(self) -> None:
        self.telemetry = Telemetry.configure(stream=io.StringIO())
        self.metrics = self.telemetry.metrics

    def say(self) -> Any:
        """What it would send."""
        return json.loads(json.dumps(families(self.telemetry.registry)))


def page(totals: Totals) -> dict[tuple[str, str], float]:
    """What Prometheus reads: each sample by its name and labels, which are in the order of their names."""
    text = generate_latest(totals).decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_and_histograms_are_summed() -> None:
    """Labels apart, buckets included."""
    one, two, totals = Process(), Process(), Totals()
    for process, events in ((one, 3), (two, 4)):
        for _ in range(events):
            process.metrics.source("github").accepted.inc()
            process.metrics.commit_seconds.observe(0.002)
    two.metrics.attempt("billing", "timeout").inc()
    totals.note(1, one.say(), looked=False)
    totals.note(2, two.say(), looked=False)
    found = page(totals)
    assert found["relay_events_total", "accepted,github"] == 7
    assert found["relay_attempts_total", "billing,timeout"] == 1
    assert found["relay_journal_commit_seconds_count", ""] == 7
    assert found["relay_journal_commit_seconds_bucket", "0.001"] == 0
    assert found["relay_journal_commit_seconds_bucket", "0.0025"] == 7
    assert found["relay_journal_commit_seconds_bucket", "+Inf"] == 7


def test_the_page_is_that_of_one_process() -> None:
    """One worker's page reads as if it had written it itself."""
    one, totals = Process(), Totals()
    one.metrics.source("github").accepted.inc()
    one.metrics.backlog.labels("billing").set(3)
    totals.note(1, one.say(), looked=True)
    summed, own = generate_latest(totals), generate_latest(one.telemetry.registry)
    assert sorted(summed.splitlines()) == sorted(own.splitlines())


def test_a_dead_process_keeps_its_counts() -> None:
    """No sum falls when a process ends, or when another begins in its place."""
    one, two, totals = Process(), Process(), Totals()
    one.metrics.source("github").accepted.inc(5)
    one.metrics.last_event.labels("github").set(1_000)
    one.metrics.config_ok.set(0)
    two.metrics.source("github").accepted.inc(2)
    two.metrics.config_ok.set(1)
    totals.note(1, one.say(), looked=True)
    totals.note(2, two.say(), looked=False)
    for process in (1, 1, 7):  # twice, and one that never spoke
        totals.forget(process)
    found = page(totals)
    assert found["relay_events_total", "accepted,github"] == 7
    assert found["relay_last_event_timestamp", "github"] == 1_000
    assert found["relay_config_ok", ""] == 1, "what a dead process had in force is of no account"
    two.metrics.source("github").accepted.inc()
    totals.note(2, two.say(), looked=False)
    assert page(totals)["relay_events_total", "accepted,github"] == 8


def test_gauges_of_the_journal_are_those_of_the_last_look() -> None:
    """All processes share the journal: its figures are not added, and old ones are forgotten."""
    one, two, totals = Process(), Process(), Totals()
    one.metrics.backlog.labels("billing").set(10)
    one.metrics.backlog.labels("gone").set(1)
    two.metrics.backlog.labels("billing").set(8)
    totals.note(1, one.say(), looked=True)
    totals.note(2, two.say(), looked=True)
    totals.note(1, one.say(), looked=False)
    found = page(totals)
    assert found["relay_backlog", "billing"] == 8
    assert ("relay_backlog", "gone") not in found


def test_the_other_gauges_tell_the_newest_and_the_worst() -> None:
    """One process with an old file, or one that found the ledger out, is what operators must see."""
    one, two, totals = Process(), Process(), Totals()
    for process, at, imbalance, ok in ((one, 1_000, 0, 1), (two, 2_000, 3, 0)):
        process.metrics.last_event.labels("github").set(at)
        process.metrics.imbalance.set(imbalance)
        process.metrics.config_ok.set(ok)
    totals.note(1, one.say(), looked=False)
    totals.note(2, two.say(), looked=False)
    found = page(totals)
    assert found["relay_last_event_timestamp", "github"] == 2_000
    assert found["relay_ledger_imbalance", ""] == 3
    assert found["relay_config_ok", ""] == 0


def test_every_gauge_has_a_rule() -> None:
    """Whoever adds a gauge says how several of it are one."""
    metrics = Process().metrics
    metrics.set_disk_free(1)  # not there before
    gauges = {one._name for one in vars(metrics).values() if isinstance(one, Gauge)}
    assert gauges == LOOKED_UP | set(_OF_ALL)
