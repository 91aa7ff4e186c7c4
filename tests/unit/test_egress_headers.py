"""Which headers leave: the sender's, less what must not pass, plus what Relay says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.egress import outbound_headers
from relay.model import Delivery, Event, Headers, Rendered

EVENT = Event(
    id="evt_1",
    source="github",
    type=None,
    provider_id=None,
    received_at=0.0,
    method="POST",
    path="/hooks/github",
    query=b"",
    headers=(),
    body=b"{}",
    remote=None,
)
DELIVERY = Delivery(
    id="dlv_1",
    event_id="evt_1",
    source="github",
    route="r",
    destination="d",
    key="key_1",
    created_at=0.0,
    age_from=0.0,
    attempts=3,
)
OWN = (
    (b"idempotency-key", b"key_1"),
    (b"relay-event-id", b"evt_1"),
    (b"relay-delivery-id", b"dlv_1"),
    (b"relay-source", b"github"),
    (b"relay-attempt", b"3"),
)
SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def sent(
    *headers: tuple[bytes, bytes],
    extra: Headers = (),
    rendered: Rendered | None = None,
    secret: frozenset[bytes] = frozenset(),
) -> tuple[Headers, str | None]:
    """What is sent of these, without what Relay adds (which is checked here)."""
    result, note = outbound_headers(
        replace(EVENT, headers=headers),
        DELIVERY,
        extra=extra,
        rendered=rendered,
        secret_headers=secret,
    )
    assert result[-6:-1] == OWN
    assert result[-1][0] == b"traceparent"
    return result[:-6], note


def test_order_and_duplicates_are_kept() -> None:
    """Headers pass as they were received: order, duplicates, empty values, UTF-8."""
    headers = (
        (b"x-b", b"1"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"x-a", b""),
        (b"x-b", b"2"),
        (b"user-agent", b"GitHub-Hookshot/1"),
        (b"x-name", "Zoë\tB".encode()),
        (b"x-b", b"1"),
    )
    assert sent(*headers) == (headers, None)


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", "proxy-connection"),
        *("host", "content-length", "cookie", "authorization"),
        *("idempotency-key", "relay-event-id", "relay-delivery-id", "relay-source", "relay-attempt"),
        "traceparent",
    ],
)
def test_what_is_between_two_hosts_or_for_relay_alone_does_not_pass(name: str) -> None:
    """Hop-by-hop headers, credentials and Relay's own names are not passed on, however often they came."""
    headers = ((name.encode(), b"a"), (b"x-kept", b"1"), (name.encode(), b"b"))
    assert sent(*headers) == (((b"x-kept", b"1"),), None)


def test_headers_named_by_connection_do_not_pass() -> None:
    """Each Connection header may name more that is for this hop only, in any case and spacing."""
    headers = (
        (b"x-secret", b"1"),
        (b"connection", b"close , X-Secret"),
        (b"x-kept", b"2"),
        (b"connection", b"x-other,"),
        (b"x-other", b"3"),
    )
    assert sent(*headers) == (((b"x-kept", b"2"),), None)


def test_the_senders_secret_does_not_pass() -> None:
    """The plain secret by which the sender authenticated stays here."""
    headers = ((b"x-gitlab-token", b"hush"), (b"x-gitlab-event", b"Push Hook"))
    assert sent(*headers, secret=frozenset({b"x-gitlab-token"})) == ((headers[1],), None)


@pytest.mark.parametrize("value", [b"\xff", b"caf\xe9", b"a\x00b", b"a\r\nx-evil: 1", b"\x1b[31m", b"\x7f"])
def test_a_value_that_is_no_text_does_not_pass_and_is_noted(value: bytes) -> None:
    """A value that is not UTF-8, or would break out of its line, is left out, and the note names it."""
    headers = ((b"x-bad", value), (b"x-kept", "é".encode()), (b"x-bad", b"fine"), (b"x-worse", value))
    kept, note = sent(*headers)
    assert kept == (headers[1], headers[2])
    assert note == "not sent, since not UTF-8 text: x-bad, x-worse"


def test_half_a_character_in_each_of_two_values_is_none_in_both() -> None:
    """Values are judged one by one, though they are looked at together."""
    kept, note = sent((b"x-a", b"\xc3"), (b"x-b", b"\xa9"))
    assert kept == ()
    assert note == "not sent, since not UTF-8 text: x-a, x-b"


def test_the_destinations_headers_replace_those_of_the_same_name() -> None:
    """What the file says for a destination stands in place of what the sender said."""
    kept, _ = sent(
        (b"x-team", b"sender"),
        (b"x-kept", b"1"),
        (b"x-team", b"again"),
        extra=((b"X-Team", b"billing"), (b"authorization", b"Bearer t"), (b"host", b"inside.example")),
    )
    assert kept == (
        (b"x-kept", b"1"),
        (b"x-team", b"billing"),
        (b"authorization", b"Bearer t"),
        (b"host", b"inside.example"),
    )


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"expect", b"idempotency-key"])
def test_a_destination_cannot_set_framing_or_relays_names(name: bytes) -> None:
    """Framing follows from the body, and the key from the delivery, whatever the file says."""
    assert sent(extra=((name, b"1"),)) == ((), None)


def test_a_rendered_request_brings_its_own_headers() -> None:
    """A transformed delivery sends the stored headers in place of the event's, under the same rules."""
    rendered = Rendered(headers=((b"content-type", b"text/plain"), (b"te", b"trailers")), body=b"hi")
    kept, _ = sent((b"x-original", b"1"), rendered=rendered)
    assert kept == ((b"content-type", b"text/plain"),)


def traceparent_of(*headers: tuple[bytes, bytes], event_id: str = "evt_1") -> list[str]:
    """The parts of the traceparent that is sent after these."""
    result, _ = outbound_headers(
        replace(EVENT, headers=headers, id=event_id),
        DELIVERY,
        extra=(),
        rendered=None,
        secret_headers=frozenset(),
    )
    return result[-1][1].decode().split("-")


@pytest.mark.parametrize("value", [SPAN, SPAN[:-2] + "00", "cc" + SPAN[2:] + "-more"])
def test_the_senders_trace_goes_on_with_a_new_span(value: str) -> None:
    """A valid traceparent keeps its trace and flags; every attempt is a span of its own."""
    spans = set()
    for _ in range(2):
        version, trace, span, flags = traceparent_of((b"traceparent", value.encode()))
        assert (version, trace, flags) == ("00", value.split("-")[1], value.split("-")[3])
        assert len(span) == 16
        spans.add(span)
    assert len(spans | {value.split("-")[2]}) == 3


@pytest.mark.parametrize(
    "value",
    ["", "garbage", SPAN + "-more", "ff" + SPAN[2:], SPAN.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01"],
)
def test_a_trace_begins_where_the_sender_has_none(value: str) -> None:
    """Without a valid traceparent the attempts of an event share a trace that is its own."""
    version, trace, _, flags = traceparent_of((b"traceparent", value.encode()))
    assert (version, len(trace), flags) == ("00", 32, "01")
    assert traceparent_of()[1] == trace
    assert traceparent_of(event_id="evt_2")[1] != trace
