"""Senders take all the descriptors that the service may have: others get 503 until there are some again."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable

import pytest

from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]


@pytest.mark.timeout(180)
def test_a_service_without_a_descriptor_left_says_503_and_recovers(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """With Retry-After, and with the reason in the log; nobody is taken for dead, nothing is lost."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/", retry: {{first_wait: 200ms, factor: 1}}}}}}
routes: [{{source: in, to: out}}]
""",
        wrapper=("bash", "-c", 'ulimit -n 90; "$@" & wait', "limited"),
    )

    def answer() -> tuple[int, str | None]:
        with contextlib.suppress(OSError, http.client.HTTPException):
            got = relay.post("in", timeout=5)
            return got.status, got.header("retry-after")
        return 0, None  # not even the answer had a descriptor

    with contextlib.ExitStack() as stack:
        for _ in range(120):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
            held.sendall(b"POST /hooks/in HTTP/1.1\r\n")
        eventually(lambda: answer() == (503, "5"), timeout=60, describe=relay.output)
    eventually(lambda: answer()[0] == 202, timeout=60, describe=relay.output)
    assert relay.wait_log("event.rejected", reason="descriptors", status=503)
    receiver.wait(1)
    assert not relay.log("delivery.rescued")
    assert relay.running
