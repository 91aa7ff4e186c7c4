"""The tests' own receiver and sender: what they record and send must be what was on the wire."""

from __future__ import annotations

import http.client

import pytest

from tests.support import Fault, Receiver, Reply, post, request


def test_the_header_list_is_recorded_as_it_was_sent(receiver: Receiver) -> None:
    """Names keep their case, duplicates their order, and nothing is added but Host and Content-Length."""
    sent: list[tuple[str, str | bytes]] = [("X-Twice", "one"), ("x-other", "ü".encode()), ("X-Twice", "two")]
    assert post(f"{receiver.url}/a?b=c", b"body", headers=sent).status == 200
    (received,) = receiver.requests
    assert [name for name, _ in received.headers] == [
        b"Host",
        b"X-Twice",
        b"x-other",
        b"X-Twice",
        b"Content-Length",
    ]
    assert received.values("x-twice") == [b"one", b"two"]
    assert received.header("X-Other") == "ü".encode()
    assert (received.method, received.path, received.query, received.body) == ("POST", "/a", "b=c", b"body")


def test_a_chunked_body_is_put_together(receiver: Receiver) -> None:
    """A body without a length is recorded without its framing."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=5)
    connection.request("POST", "/", body=iter([b"one ", b"two"]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert receiver.requests[0].body == b"one two"


def test_scripts_are_used_up_in_order_and_by_path(receiver: Receiver) -> None:
    """A path's own script goes first, then the common one, then the standing answer."""
    receiver.script(503, Reply(429, headers=(("Retry-After", "7"),)))
    receiver.script(404, path="/own")
    receiver.answer(204)
    assert request("GET", f"{receiver.url}/own").status == 404
    assert request("GET", f"{receiver.url}/own").status == 503
    assert request("GET", f"{receiver.url}/x").header("retry-after") == "7"
    assert request("GET", f"{receiver.url}/x").status == 204


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.RESET_HEAD, Fault.RESET_BODY])
def test_a_reset_is_seen_by_the_client(receiver: Receiver, fault: Fault) -> None:
    """A reset ends the exchange with an error, wherever in the answer it falls."""
    receiver.answer(Reply(fault=fault))
    with pytest.raises((OSError, http.client.HTTPException)):
        post(f"{receiver.url}/")
    assert len(receiver.requests) == 1


def test_a_hanging_answer_does_not_keep_the_receiver_from_stopping() -> None:
    """A request that hangs is recorded, and `stop` cuts it."""
    with Receiver(Reply(fault=Fault.HANG)) as hanging:
        with pytest.raises(TimeoutError):
            post(f"{hanging.url}/", timeout=0.2)
        assert len(hanging.wait()) == 1


def test_a_stopped_receiver_refuses_and_comes_back_on_its_port() -> None:
    """Down means connection refused; up again, it answers where it was."""
    with Receiver() as restarted:
        restarted.stop()
        with pytest.raises(ConnectionRefusedError):
            post(f"{restarted.url}/")
        restarted.start()
        assert post(f"{restarted.url}/").status == 200
