"""Senders that keep on until each event is taken, and what must hold of what they sent."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from tests.support.http import post
from tests.support.receiver import Received


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender heard at its post of `at`, Unix seconds; status 0 where the connection failed."""

    at: float
    seconds: float
    status: int


class Load:
    """One sender a lane: it posts {name, lane, n} to the source `in`, and counts on when that is taken.

    Where it is not, it goes on to the next of the nodes' URLs, as by a load balancer.
    """

    def __init__(
        self, urls: Sequence[str], *, lanes: int = 8, pause: float = 0.05, timeout: float = 8.0
    ) -> None:
        self._urls = tuple(f"{url}/hooks/in" for url in urls)
        self._pause = pause
        self._timeout = timeout
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._taken: list[tuple[int, int]] = []
        self._senders = [threading.Thread(target=self._send, args=(lane,)) for lane in range(lanes)]

    def __enter__(self) -> Self:
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def answers(self) -> list[Answer]:
        """What was heard so far, in order."""
        with self._lock:
            return list(self._answers)

    @property
    def taken(self) -> list[tuple[int, int]]:
        """The (lane, n) of what was acknowledged."""
        with self._lock:
            return list(self._taken)

    def stop(self) -> None:
        """Send no more; whoever waits for an answer waits for it."""
        self._stop.set()
        for sender in self._senders:
            sender.join()

    def _send(self, lane: int) -> None:
        number, turn = 0, lane
        while not self._stop.is_set():
            body = json.dumps({"name": f"{lane}-{number}", "lane": lane, "n": number})
            began, clock = time.time(), time.perf_counter()
            try:
                status = post(self._urls[turn % len(self._urls)], body, timeout=self._timeout).status
            except (OSError, http.client.HTTPException):
                status = 0
            with self._lock:
                self._answers.append(Answer(began, time.perf_counter() - clock, status))
                if status == 202:
                    self._taken.append((lane, number))
            number, turn = (number + 1, turn) if status == 202 else (number, turn + 1)
            self._stop.wait(self._pause if status == 202 else 0.1)


def name_of(received: Received) -> tuple[int, int]:
    """The (lane, n) of a request."""
    body = json.loads(received.body)
    return body["lane"], body["n"]


def lost(taken: Collection[tuple[int, int]], requests: Iterable[Received]) -> set[tuple[int, int]]:
    """What was acknowledged and has not come."""
    return set(taken) - {name_of(one) for one in requests}


def keys(requests: Iterable[Received]) -> list[str]:
    """The Idempotency-Key of each request, in order."""
    return [(one.header("Idempotency-Key") or b"").decode() for one in requests]


def again(requests: Iterable[Received]) -> int:
    """How many requests were of a delivery that had come before."""
    came = keys(requests)
    return len(came) - len(set(came))


def out_of_order(requests: Iterable[Received]) -> list[tuple[int, int]]:
    """What came first after something later of its lane had come.

    That a delivery comes again, late, is no breach: only what comes for the first time counts.
    """
    last: dict[int, int] = {}
    seen: set[str] = set()
    wrong: list[tuple[int, int]] = []
    for one in requests:
        (key,) = keys([one])
        if key in seen:
            continue
        seen.add(key)
        lane, number = name_of(one)
        if number < last.get(lane, 0):
            wrong.append((lane, number))
        last[lane] = max(number, last.get(lane, 0))
    return wrong
