"""`python -m tests.benchmarks`: the table, the ratios, and which bars hold; ends 1 when one does not."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from contextlib import nullcontext
from statistics import median

from tests.benchmarks.database import database
from tests.benchmarks.measure import SENDERS, Figures, measure
from tests.benchmarks.payload import SIZE
from tests.benchmarks.subjects import SUBJECTS, Subject

TIMES_BACKGROUND = 20.0
SHARE_OF_LIMIT = 0.3
CPU_OF_LIMIT = 3.3
SHARES_ON_POSTGRES = {"postgres1": 0.25, "postgres2": 0.35}
TIMES_ONE_PROCESS = 1.25


def main() -> int:
    """Measure what was asked for, in turns, and print what it came to."""
    options = _options()
    chosen = [subject for subject in SUBJECTS if not options.only or subject.name in options.only]
    rounds = 1 if options.quick else options.rounds
    _say(
        f"{SENDERS} senders, {SIZE} bytes, {options.seconds:g} s a run, median of {rounds}; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, one machine for all"
    )
    runs: dict[str, list[Figures]] = {subject.name: [] for subject in chosen}
    with database() if any(subject.shared for subject in chosen) else nullcontext() as server:
        for turn in range(rounds):
            for subject in chosen:
                figures = measure(subject, seconds=options.seconds, database=server)
                runs[subject.name].append(figures)
                _progress(f"{turn + 1}/{rounds} {subject.name}: {figures.per_second:,.0f}/s")
    medians = {name: _median(figures) for name, figures in runs.items()}
    _table(chosen, medians)
    return 0 if _bars(chosen, medians) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each subject once in each (3)")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of sending in a run (6)")
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="SUBJECT", help=f"some of: {', '.join(names)}"
    )
    return parser.parse_args()


def _median(runs: list[Figures]) -> Figures:
    """Each figure's own median; what must never happen (missing, refused) is the worst of the runs."""
    worst = max(runs, key=lambda run: run.missing)
    return Figures(
        per_second=median(run.per_second for run in runs),
        cpu=median(run.cpu for run in runs),
        server_cpu=median(run.server_cpu for run in runs),
        written=median(run.written for run in runs),
        p50=median(run.p50 for run in runs),
        p99=median(run.p99 for run in runs),
        acknowledged=worst.acknowledged,
        delivered=worst.delivered,
        refused=max(run.refused for run in runs),
        load=median(run.load for run in runs),
    )


def _table(chosen: list[Subject], medians: dict[str, Figures]) -> None:
    columns = ("events/s", 10), ("CPU us", 9), ("server", 8), ("log B", 8), ("ack p50", 12), ("ack p99", 12)
    others = (
        ("/ limit", 9),
        ("CPU / limit", 13),
        ("/ Background", 14),
        ("missing", 9),
        ("refused", 9),
        ("load", 6),
    )
    _say("\n" + " " * 36 + "".join(f"{title:>{width}}" for title, width in (*columns, *others)))
    limit, background = medians.get("limit"), medians.get("background")
    for subject in chosen:
        figures = medians[subject.name]
        _say(
            f"{subject.title:36}{figures.per_second:>10,.0f}{figures.cpu * 1e6:>9,.0f}"
            f"{figures.server_cpu * 1e6:>8,.0f}{figures.written:>8,.0f}"
            f"{figures.p50 * 1e3:>9,.1f} ms{figures.p99 * 1e3:>9,.1f} ms"
            f"{_ratio(figures.per_second, limit.per_second if limit else None, 2):>9}"
            f"{_ratio(figures.cpu, limit.cpu if limit else None, 2):>13}"
            f"{_ratio(figures.per_second, background.per_second if background else None, 1):>14}"
            f"{figures.missing:>9,}{figures.refused:>9,}{figures.load:>6.1f}"
        )


def _bars(chosen: list[Subject], medians: dict[str, Figures]) -> bool:
    """Print each bar that was measured and whether it holds; True if all do."""
    limit, background, relay = (medians.get(name) for name in ("limit", "background", "relay"))
    two = medians.get("workers2")
    bars: list[tuple[str, bool]] = []
    if relay and background:
        times = relay.per_second / background.per_second
        bars.append(
            (f"Relay >= {TIMES_BACKGROUND:g} x BackgroundTasks: {times:.1f}", times >= TIMES_BACKGROUND)
        )
    if relay and limit:
        share, cpu = relay.per_second / limit.per_second, relay.cpu / limit.cpu
        bars.append((f"Relay >= {SHARE_OF_LIMIT:g} x the limit: {share:.2f}", share >= SHARE_OF_LIMIT))
        bars.append((f"Relay <= {CPU_OF_LIMIT:g} x the limit's CPU: {cpu:.2f}", cpu <= CPU_OF_LIMIT))
    if relay and two:
        times = two.per_second / relay.per_second
        bars.append(
            (f"two workers on SQLite >= {TIMES_ONE_PROCESS:g} x one: {times:.2f}", times >= TIMES_ONE_PROCESS)
        )
    for subject in chosen:
        figures, bar = medians[subject.name], SHARES_ON_POSTGRES.get(subject.name)
        if bar is not None and limit:
            share = figures.per_second / limit.per_second
            bars.append((f"{subject.title} >= {bar:g} x the limit: {share:.2f}", share >= bar))
        if subject.durable:
            missing = figures.missing
            bars.append((f"{subject.title}: missing of the acknowledged: {missing}", missing <= 0))
    _say("")
    for text, holds in bars:
        _say(f"{'holds ' if holds else 'FAILS '} {text}")
    return all(holds for _, holds in bars)


def _ratio(value: float, base: float | None, digits: int) -> str:
    return f"{value / base:.{digits}f}" if base else "-"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _progress(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
