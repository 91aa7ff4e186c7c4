"""An event handed to Celery: a real worker is called with it, whatever the broker."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import RelayProcess
from tests.support.celery import Redis, Worker

StartRelay = Callable[..., RelayProcess]

CONFIG = """
sources: {{in: {{verify: none}}}}
destinations:
  reports:
    celery: {{broker: "${{CELERY_BROKER}}", task: reports.tasks.build, queue: heavy{encoding}}}
    retry: {{first_wait: 200ms, factor: 1, jitter: 0}}
    breaker: null
routes: [{{source: in, to: reports}}]
"""


def test_a_worker_is_called_with_the_event(tmp_path: Path, start_relay: StartRelay) -> None:
    """Over files as a broker: the delivery's id is the task's, and the keywords are the documented ones."""
    relay = start_relay(CONFIG.format(encoding=""), env={"CELERY_BROKER": "filesystem://"}, start=False)
    for name in ("data_in", "data_out"):
        (relay.folder / name).mkdir()
    with Worker(
        tmp_path / "worker",
        "filesystem://",
        data_folder_in=str(relay.folder / "data_out"),
        data_folder_out=str(relay.folder / "data_in"),
        control_folder=str(relay.folder / "control"),
    ) as worker:
        relay.start()
        relay.post("in", '{"n": 1}', headers=[("Content-Type", "application/json"), ("X-One", "1")])
        (task,) = worker.wait(1)
    (done,) = relay.wait_log("attempt.finished", decision="delivered")
    assert task["task_id"] == task["delivery"]["id"] == done["delivery_id"]
    assert task["delivery"]["attempt"] == 1
    assert task["body"] == '{"n": 1}'
    event = task["event"]
    assert (event["id"], event["source"], event["type"]) == (done["event_id"], "in", None)
    assert event["headers"]["x-one"] == "1"
    assert relay.term() == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_over_redis_what_could_not_be_published_is_tried_again(
    tmp_path: Path, start_relay: StartRelay
) -> None:
    """While the broker is away the delivery waits; when it is there, a worker gets the very bytes."""
    redis = Redis(tmp_path / "redis", password="s3cret")
    relay = start_relay(CONFIG.format(encoding=", encoding: base64"), env={"CELERY_BROKER": redis.url})
    relay.post("in", bytes(range(256)), headers=[("Content-Type", "application/octet-stream")])
    (failed, *_) = relay.wait_log("attempt.finished", decision="retry")
    assert failed["outcome"] == "connect_error"
    with redis, Worker(tmp_path / "worker", redis.url) as worker:
        (task,) = worker.wait(1)
        assert base64.b64decode(task["body"]) == bytes(range(256))
        assert task["delivery"]["attempt"] > 1
        relay.wait_log("attempt.finished", decision="delivered")
        assert relay.term() == 0
    assert "s3cret" not in (relay.folder / "serve-1.out").read_text()
