"""Celery workers as processes of their own, which write down the tasks that they are called with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.support.ending import end, ended_on_failure
from tests.support.http import free_port
from tests.support.wait import eventually

_PROGRAM = """
import json, os
from celery import Celery

app = Celery("worker", broker=os.environ["WORKER_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    broker_transport_options=json.loads(os.environ["WORKER_OPTIONS"]),
)

@app.task(name="reports.tasks.build", bind=True)
def build(self, **keywords):
    with open(os.environ["WORKER_FILE"], "a") as file:
        file.write(json.dumps({"task_id": self.request.id, **keywords}) + "\\n")
"""


class Worker:
    """A worker of the task `reports.tasks.build`, on the queue `heavy`; use it as a context manager.

    What is published while it starts waits in the queue. `options` are those of the broker's transport.
    """

    def __init__(self, folder: Path, broker: str, **options: str) -> None:
        self._folder = folder
        self._file = folder / "tasks.jsonl"
        self._environ = {
            **os.environ,
            "WORKER_BROKER": broker,
            "WORKER_OPTIONS": json.dumps(options),
            "WORKER_FILE": str(self._file),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "worker.py").write_text(_PROGRAM)
        self._log = self._folder / "worker.log"
        command = "celery -A worker worker --pool solo --queues heavy --loglevel info"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", *command.split()],
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        end(self._process)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What it was called with, and the `task_id`."""
        if not self._file.exists():
            return []
        text = self._file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait(self, count: int, *, timeout: float = 60.0) -> list[dict[str, Any]]:
        """The tasks once there are `count` of them."""
        return eventually(
            lambda: found if len(found := self.tasks) >= count else None,
            timeout=timeout,
            describe=self._log.read_text,
        )


class Redis:
    """A Redis server on 127.0.0.1 that keeps nothing; use it as a context manager."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a broker's setting holds."""
        user = "" if self._password is None else f":{self._password}@"
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        assert program is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if self._password is not None:
            words += ["--requirepass", self._password]
        log = self._folder / "redis.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [program, *words], cwd=self._folder, stdout=out, stderr=subprocess.STDOUT
            )
        with ended_on_failure(self._process):
            eventually(lambda: b"eady to accept connections" in log.read_bytes(), describe=log.read_text)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        end(self._process)
