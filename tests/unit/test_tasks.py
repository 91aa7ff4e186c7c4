"""Attempts by Celery: what a task is called with, and what a broker's troubles become."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import json
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from relay.config import Celery, Destination, Timeout
from relay.egress import celery as tasks_module
from relay.egress.celery import Tasks, keywords_of, require
from relay.egress.result import Result
from relay.errors import ConfigError
from relay.model import Outcome, Rendered
from relay.retry import Policy
from tests.support import free_port
from tests.support.celery import Redis
from tests.unit.egress_helpers import Server, listening
from tests.unit.letters import parcel_of

CELERY = Celery(broker="filesystem://", task="reports.tasks.build", queue="heavy", encoding="text")

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@contextmanager
def publishing() -> Iterator[Tasks]:
    """Tasks that are closed at the end."""
    tasks = Tasks()
    try:
        yield tasks
    finally:
        tasks.close()


async def send(tasks: Tasks, celery: Celery, total: float = 30.0, **attempt_input: Any) -> Result:
    """Try once."""
    return await tasks.send(celery, parcel_of(**attempt_input), timeout=Timeout(connect=None, total=total))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the filesystem transport keeps its messages."""
    for name in ("data_in", "data_out"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data_out"


def published(folder: Path) -> list[Path]:
    """What lies with the broker."""
    return list(folder.iterdir())


def test_a_task_is_called_with_event_body_and_delivery() -> None:
    """The keywords are those of the documentation, whatever the headers' case and number."""
    headers = (
        (b"content-type", b"application/json"),
        (b"x-twice", b"first"),
        (b"x-twice", b"second"),
        (b"x-key", b"canary"),
    )
    attempt_input = parcel_of(headers=headers, secret_headers=frozenset({b"x-key"}), attempts=2, key="dlv_0")
    assert keywords_of(CELERY, attempt_input) == {
        "event": {
            "id": "evt_1",
            "type": "invoice.paid",
            "source": "stripe",
            "provider_id": "evt_stripe_1",
            "received_at": 1_700_000_000.0,
            "headers": {"content-type": "application/json", "x-twice": "first"},
        },
        "body": '{"id": 7}',
        "delivery": {"id": "dlv_1", "key": "dlv_0", "attempt": 2},
    }


def test_a_body_may_go_as_base64() -> None:
    """Then any bytes may be in it."""
    body = bytes(range(256))
    keywords = keywords_of(replace(CELERY, encoding="base64"), parcel_of(body=body))
    assert base64.b64decode(str(keywords["body"])) == body


def test_a_transform_is_what_the_task_gets() -> None:
    """A rendered body and its headers stand in place of the event's."""
    made = Rendered(headers=((b"x-made", b"yes"),), body=b"made")
    keywords = keywords_of(CELERY, parcel_of(rendered=made))
    assert keywords["body"] == "made"
    assert isinstance(keywords["event"], dict)
    assert keywords["event"]["headers"] == {"x-made": "yes"}


async def test_a_task_is_published_by_the_deliverys_id(folders: Path) -> None:
    """What lies with the broker has the task's name, the delivery's id and the queue."""
    with publishing() as tasks:
        result = await send(tasks, CELERY)
    assert result == Result(outcome=Outcome.DELIVERED)
    (file,) = published(folders)
    message = json.loads(file.read_text())
    assert file.name.endswith(".heavy.msg")
    assert (message["headers"]["id"], message["headers"]["task"]) == ("dlv_1", "reports.tasks.build")
    args, keywords, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, keywords["delivery"]["id"]) == ([], "dlv_1")


async def test_a_body_that_is_no_text_is_not_mangled(folders: Path) -> None:
    """Under `encoding: text` it fails, and says what would do."""
    with publishing() as tasks:
        result = await send(tasks, CELERY, body=b"\xff")
    assert result.outcome is Outcome.TRANSFORM_ERROR
    assert "base64" in (result.error or "")
    assert published(folders) == []


async def test_one_connection_is_used_again_and_closed_at_the_end(folders: Path) -> None:
    """Attempts do not dial each time, and closing lets nothing stay open."""
    tasks = Tasks()
    for _ in range(3):
        await send(tasks, CELERY)
    (publisher,) = tasks._publishers.values()
    connection = publisher._connection
    await send(tasks, CELERY)
    assert publisher._connection is connection
    tasks.close()
    publisher._thread.shutdown()
    assert publisher._connection is None
    assert not connection.connected
    assert len(published(folders)) == 4


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
async def test_a_broker_that_is_not_there_is_a_connect_error(scheme: str) -> None:
    """Nothing below tries again by itself, as kombu would for ten seconds, and the connection is let go."""
    importlib.import_module("celery")
    broker = replace(CELERY, broker=f"{scheme}://user:canary@127.0.0.1:{free_port()}/0")
    with publishing() as tasks:
        result = await send(tasks, broker, total=9.0)
        (publisher,) = tasks._publishers.values()
        assert publisher._connection is None
    assert result.outcome is Outcome.CONNECT_ERROR
    assert (result.error or "").startswith("broker: ")


@pytest.mark.parametrize("word", ["canary", "can%2Fary"])
def test_a_brokers_password_is_in_no_text(word: str) -> None:
    """However a library quotes it: as it stands in the URL, or decoded."""
    celery = replace(CELERY, broker=f"amqp://user:{word}@host/")
    for quoted in (word, unquote(word)):
        result = tasks_module._failed(OSError(f"cannot log in to amqp://user:{quoted}@host/"), celery)
        assert result.error == "broker: cannot log in to amqp://user:[masked]@host/"


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [
        (socket.gaierror(-2, "Name or service not known"), Outcome.DNS_ERROR),
        (ssl.SSLError("bad handshake"), Outcome.TLS_ERROR),
        (TimeoutError("timed out"), Outcome.TIMEOUT),
        (ConnectionResetError("reset"), Outcome.CONNECT_ERROR),
    ],
)
def test_an_error_is_named_by_its_cause(cause: Exception, outcome: Outcome) -> None:
    """Whatever library wrapped what the system said."""
    wrapped = RuntimeError("broker trouble")
    wrapped.__cause__ = cause
    assert tasks_module._failed(wrapped, CELERY).outcome is outcome


async def test_a_broker_that_says_nothing_is_a_timeout() -> None:
    """The deadline holds, and another broker's attempts do not wait for it."""

    async def silent(_: Server, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as server:
        hangs = replace(CELERY, broker=f"redis://127.0.0.1:{server.port}/0")
        with publishing() as tasks:
            slow = asyncio.create_task(send(tasks, hangs, total=1.0))
            other = await send(tasks, replace(CELERY, broker=f"redis://127.0.0.1:{free_port()}/0"))
            assert other.outcome is Outcome.CONNECT_ERROR
            assert (await slow).outcome is Outcome.TIMEOUT


@needs_redis
async def test_a_wrong_password_of_the_broker_shows_no_password(tmp_path: Path) -> None:
    """What Redis says of it is the error."""
    with Redis(tmp_path, password="s3cret") as redis, publishing() as tasks:
        url = redis.url.replace("s3cret", "canary")
        result = await send(tasks, replace(CELERY, broker=url))
    assert result.outcome is Outcome.CONNECT_ERROR
    assert "canary" not in (result.error or "")


@needs_redis
async def test_after_a_brokers_restart_the_next_attempt_has_a_sound_connection(tmp_path: Path) -> None:
    """An attempt may fail when the broker goes; those after it do not for its sake."""
    redis = Redis(tmp_path)
    celery = replace(CELERY, broker=redis.url)
    with publishing() as tasks:
        with redis:
            assert (await send(tasks, celery)).outcome is Outcome.DELIVERED
        assert (await send(tasks, celery)).outcome is not Outcome.DELIVERED
        with redis:
            assert (await send(tasks, celery)).outcome is Outcome.DELIVERED


def destination(target: Any) -> Destination:
    """A destination of this kind."""
    return Destination(
        name="reports",
        target=target,
        timeout=Timeout(connect=None, total=30.0),
        retry=Policy(),
        concurrency=1,
        rate=None,
        breaker=None,
        order=None,
        max_backlog=None,
    )


@pytest.mark.parametrize(
    ("broker", "missing"), [("amqp://h/", "celery"), ("redis://h/0", "redis"), ("rediss://h/0", "redis")]
)
def test_a_missing_package_is_told_when_the_service_starts(
    monkeypatch: pytest.MonkeyPatch, broker: str, missing: str
) -> None:
    """The message names the destination and the extra that brings the package."""
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return None if name == missing else found(name, package)

    wanted = [destination(replace(CELERY, broker=broker))]
    require(wanted)
    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(ConfigError, match=rf"reports.*{missing}.*relay\[celery\]"):
        require(wanted)


def test_without_celery_destinations_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has none needs no package."""
    finder: Callable[..., None] = lambda *_: None  # noqa: E731 - a stand-in for a machine without it
    monkeypatch.setattr(importlib.util, "find_spec", finder)
    require([destination(None)])
