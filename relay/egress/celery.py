"""One attempt by Celery: one task published to one broker, exactly one outcome back.

Celery's messaging blocks, so each broker has one thread and in it one connection, used again and again;
a broker that hangs holds up nobody else. The broker is dialled by Celery itself, past `egress.deny`: it is
a part of the operator's own system, as the journal is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import importlib.util
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

from relay.config.model import Celery, Destination, Timeout
from relay.egress.attempt_input import AttemptInput
from relay.egress.result import Result
from relay.egress.words import escape
from relay.errors import ConfigError
from relay.model import Outcome

_PATIENCE = 10.0
"""Seconds that the thread waits for the broker's answer, however long the attempt may take."""

# Options of kombu's transports; without them their sockets wait for ever.
_REDIS = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
# Published is only what the broker has confirmed.
_AMQP = {"read_timeout": _PATIENCE, "write_timeout": _PATIENCE, "confirm_publish": True}
_OPTIONS: Mapping[str, Mapping[str, object]] = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "sentinel": _REDIS,
    "amqp": _AMQP,
    "amqps": _AMQP,
    "pyamqp": _AMQP,
}


def require(destinations: Iterable[Destination]) -> None:
    """Raise ConfigError where a destination needs Celery and its packages are not installed."""
    for destination in destinations:
        target = destination.target
        if not isinstance(target, Celery):
            continue
        needed = ["celery", "redis"] if _scheme(target.broker) in {"redis", "rediss"} else ["celery"]
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"destination {destination.name}: `celery` needs the package {missing[0]}, which is not"
                " installed: pip install 'relay[celery]'"
            )


class Tasks:
    """Publishes deliveries as tasks; keeps a connection to each broker until it is closed."""

    def __init__(self) -> None:
        self._publishers: dict[str, _Publisher] = {}

    async def send(self, celery: Celery, attempt_input: AttemptInput, *, timeout: Timeout) -> Result:  # noqa: ASYNC109 - a value
        """Publish one task and return how it went; raises nothing but `CancelledError`.

        The delivery's id is the task's id. What is not published within the deadline may be published
        yet, once; the next attempt comes by the same id.
        """
        publisher = self._publishers.get(celery.broker)
        if publisher is None:
            publisher = self._publishers[celery.broker] = _Publisher(celery.broker)
        try:
            async with asyncio.timeout(timeout.total):
                await publisher.publish(celery, attempt_input)
        except TimeoutError as error:
            words = str(error) or f"not finished within {timeout.total:g} s"
            return Result(outcome=Outcome.TIMEOUT, error=f"broker: {words}")
        except Exception as error:  # noqa: BLE001 - whatever it is, this delivery has to go on
            return _failed(error, celery)
        return Result(outcome=Outcome.DELIVERED)

    def close(self) -> None:
        """Close every connection once what is being published is; returns at once."""
        publishers, self._publishers = self._publishers, {}
        for publisher in publishers.values():
            publisher.close()


class _Publisher:
    """One broker: a thread, and in it a connection that is made when it is needed."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="relay-celery")
        self._app: Any = None
        self._connection: Any = None

    async def publish(self, celery: Celery, attempt_input: AttemptInput) -> None:
        """Publish one task; what was not begun when the caller gives up is not published."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, celery, attempt_input)

    def close(self) -> None:
        """Let the thread end with what it has, and then close the connection."""
        self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)

    def _publish(self, celery: Celery, attempt_input: AttemptInput) -> None:
        keywords = keywords_of(celery, attempt_input)
        try:
            self._connect()
            self._app.send_task(
                celery.task,
                kwargs=keywords,
                task_id=attempt_input.delivery.id,
                queue=celery.queue,
                producer=self._app.amqp.Producer(self._connection, auto_declare=False),
                retry=False,  # trying again is Relay's own
            )
        except BaseException:
            # Whatever it was, the next attempt gets a connection that is sound.
            self._disconnect()
            raise

    def _connect(self) -> None:
        # Only who publishes tasks pays for these; they have no types.
        celery: Any = importlib.import_module("celery")
        kombu: Any = importlib.import_module("kombu")
        if self._app is None:
            self._app = celery.Celery("relay", broker=self._broker, set_as_current=False)
        if self._connection is None:
            options = {"max_retries": 0, **_OPTIONS.get(_scheme(self._broker), {})}
            self._connection = kombu.Connection(
                self._broker, connect_timeout=_PATIENCE, transport_options=options
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()


def keywords_of(celery: Celery, attempt_input: AttemptInput) -> dict[str, object]:
    """The task's keywords; UnicodeDecodeError where the body is to be text and is none."""
    event, delivery, rendered = attempt_input.event, attempt_input.delivery, attempt_input.rendered
    headers = event.headers if rendered is None else rendered.headers
    body = attempt_input.body
    return {
        "event": {
            "id": event.id,
            "type": event.type,
            "source": event.source,
            "provider_id": event.provider_id,
            "received_at": event.received_at,
            # Of repeated ones the first, as expressions see them.
            "headers": {
                name.decode("latin-1"): value.decode("utf-8", "replace")
                for name, value in reversed(headers)
                if name not in attempt_input.secret_headers
            },
        },
        "body": base64.b64encode(body).decode() if celery.encoding == "base64" else body.decode(),
        "delivery": {"id": delivery.id, "key": delivery.key, "attempt": delivery.attempts},
    }


def _failed(error: Exception, celery: Celery) -> Result:
    """Name an error by its cause, whatever library wrapped it."""
    causes = list(_causes(error))
    if isinstance(error, UnicodeDecodeError):
        text = "the body is no UTF-8 text: the destination needs `encoding: base64`"
        return Result(outcome=Outcome.TRANSFORM_ERROR, error=text)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        outcome = Outcome.DNS_ERROR
    elif any(isinstance(cause, ssl.SSLError) for cause in causes):
        outcome = Outcome.TLS_ERROR
    elif any(isinstance(cause, TimeoutError) for cause in causes):
        outcome = Outcome.TIMEOUT
    else:
        outcome = Outcome.CONNECT_ERROR
    words = f"broker: {error}" if str(error) else f"broker: {type(error).__name__}"
    return Result(outcome=outcome, error=escape(_without_password(words, celery.broker)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _without_password(text: str, broker: str) -> str:
    """The text without the broker's password, whoever quoted it."""
    try:
        password = urlsplit(broker).password
    except ValueError:
        return "broker: the connection failed"
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, "[masked]")
    return text


def _scheme(broker: str) -> str:
    return broker.partition("://")[0].partition("+")[0].lower()
