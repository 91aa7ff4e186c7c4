"""What is measured: how each subject is started and what is posted to it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.payload import SECRET

PLAIN = """\
sources:
  bench: {{verify: {{scheme: none}}}}
destinations:
  receiver: {{url: "{target}", limits: {{concurrency: 64}}}}
routes:
  - {{source: bench, to: receiver}}
"""

CHECKED = """\
sources:
  bench:
    verify: {{scheme: github, secrets: "{secret}"}}
    dedup: 24h
destinations:
  receiver: {{url: "{target}", limits: {{concurrency: 64}}}}
routes:
  - {{source: bench, when: 'event.type == "push"', to: receiver}}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One contestant.

    durable  whether all that it acknowledged must arrive
    nodes    services on one journal, each with a port of its own and its part of the senders
    workers  processes of each, on one port, among which the kernel spreads the senders
    shared   whether the journal is on PostgreSQL
    most     requests to make ready for one second of sending
    drain    seconds to wait, after the senders ended, for what was acknowledged
    """

    name: str
    title: str
    module: str
    config: str | None = None
    signed: bool = False
    durable: bool = False
    nodes: int = 1
    workers: int = 1
    shared: bool = False
    most: int = 12_000
    drain: float = 20.0

    def command(self) -> list[str]:
        """How to start it."""
        return [sys.executable, "-m", self.module, *(["serve"] if self.config else [])]

    def environ(
        self, folder: Path, *, port: int, admin_port: int, target: str, journal: str
    ) -> dict[str, str]:
        """What one of its processes finds in its environment; Relay's file is written here."""
        if self.config is None:
            return {"BENCH_PORT": str(port), "BENCH_TARGET": target}
        file = folder / "relay.yaml"
        file.write_text(self.config.format(target=target, secret=SECRET))
        return {
            "RELAY_CONFIG": str(file),
            "RELAY_JOURNAL": journal,
            "RELAY_HOST": "127.0.0.1",
            "RELAY_PORT": str(port),
            "RELAY_ADMIN_PORT": str(admin_port),
            "RELAY_WORKERS": str(self.workers),
            "RELAY_LOG_FORMAT": "json",
            "RELAY_LOG_LEVEL": "info",
        }


def _relay(name: str, title: str, *, nodes: int = 1, workers: int = 1, shared: bool = False) -> Subject:
    return Subject(
        name, title, "relay", config=PLAIN, durable=True, nodes=nodes, workers=workers, shared=shared
    )


SUBJECTS = (
    Subject("limit", "the limit (keeps nothing)", "tests.benchmarks.limit"),
    Subject("background", "BackgroundTasks + httpx.AsyncClient", "tests.benchmarks.background", most=4_000),
    _relay("relay", "Relay, durable, logs on"),
    Subject("checked", "Relay, signature, dedup, when", "relay", config=CHECKED, signed=True, durable=True),
    _relay("workers2", "serve --workers 2 on one SQLite file", workers=2),
    _relay("postgres1", "one node on PostgreSQL", shared=True),
    _relay("postgres2", "two nodes on one PostgreSQL", nodes=2, shared=True),
    _relay("postgres4", "four nodes on one PostgreSQL", nodes=4, shared=True),
)
