"""Headers, bodies and requests as `show` has them: whole, inert, and without the file's secrets."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from relay.cli.output.contents import Contents, body_json
from relay.cli.output.sent import Requests
from relay.cli.output.show import Journey, journey_json, lines
from relay.model import Delivery, Event, EventState, Rendered

NOW = 1_800_000_000.0
SECRET = "sesame-open-0123"

CONFIG = """\
sources:
  in: {verify: {scheme: github, secrets: "${IN_SECRET}"}}
destinations:
  api:
    url: "https://api.example.com/${TOKEN}/{{ body.id }}/x"
    method: PUT
    headers: {X-Api-Key: "${TOKEN}", X-Team: blue}
    auth: {type: bearer, token: "${TOKEN}"}
  mail: {email: {to: [ops@example.com], from: relay@example.com, smtp: "smtps://u:${TOKEN}@mail.example.com"}}
routes:
  - {source: in, to: api, transform: {json: {n: "{{ body.id }}"}}}
  - {source: in, to: mail}
  - {name: written, source: in, to: mail, transform: {text: "1", headers: {X-Api-Key: "written"}}}
  - {name: keyed, source: in, to: mail, transform: {json: {n: "{{ body.id }}", key: "${TOKEN}"}}}
"""

EVENT = Event(
    id="evt_1",
    source="in",
    type=None,
    provider_id=None,
    received_at=NOW,
    method="POST",
    path="/in",
    query=b"",
    headers=((b"content-type", b"application/json"), (b"x-\x1b[31m", b"\xff")),
    body=b'{"id": "a/b"}',
    remote=None,
)
DELIVERY = Delivery(
    id="dlv_1",
    event_id="evt_1",
    source="in",
    route="in-to-api",
    destination="api",
    key="dlv_1",
    created_at=NOW,
    age_from=NOW,
    due_at=NOW,
    transform=True,
    rendered=Rendered(headers=((b"content-type", b"application/json"),), body=b'{"n":"a/b"}'),
)
ALL = Contents(headers=True, body=True, whole=False)


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """By a file whose variables are set here, as they may be in an operator's shell."""
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("IN_SECRET", SECRET)
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return Requests.by_file(tmp_path / "relay.yaml")


def told(requests: Requests, delivery: Delivery, contents: Contents = ALL, event: Event = EVENT) -> str:
    """The timeline of an event with one delivery, and its request."""
    journey = Journey(event, ((delivery, ()),), {}, {delivery.id: requests.of(event, delivery)})
    return "\n".join("  " * line.depth + line.text for line in lines(journey, NOW, contents))


def test_a_transformed_request_is_shown_as_it_is_sent(requests: Requests) -> None:
    """Method and filled URL, the destination's own headers and Relay's, the body; secrets by their names."""
    text = told(requests, DELIVERY)
    assert "request by today's file: PUT https://api.example.com/${TOKEN}/a%2Fb/x" in text
    for line in ("x-api-key: ${TOKEN}", "x-team: blue", "idempotency-key: dlv_1", '{"n":"a/b"}'):
        assert f"\n      {line}" in text
    assert "(each attempt adds credentials)" in text
    assert "relay-attempt: 1" in text
    assert SECRET not in text
    assert SECRET not in str(
        journey_json(Journey(EVENT, ((DELIVERY, ()),), {}, {"dlv_1": requests.of(EVENT, DELIVERY)}))
    )


def test_what_is_not_rendered_yet_says_so(requests: Requests) -> None:
    """Neither the event's headers nor its body are shown in its place."""
    text = told(requests, replace(DELIVERY, rendered=None))
    assert text.endswith("request\n      (its transform renders it at the first attempt)")
    failed = replace(DELIVERY, rendered=None, reason="transform_error")
    assert "(it could not be rendered (`relay explain` says why))" in told(requests, failed)


def test_what_has_a_variable_in_it_is_not_shown(requests: Requests) -> None:
    """Its value is stored with what the transform made of it."""
    made = Rendered(headers=(), body=SECRET.encode())
    text = told(requests, replace(DELIVERY, route="keyed", rendered=made))
    assert "its transform has ${VARIABLES}" in text
    assert SECRET not in text
    left = told(requests, replace(DELIVERY, route="renamed", rendered=made))
    assert "its route is not in the file" in left
    assert SECRET not in left


def test_a_secret_that_a_transform_writes_out_is_masked(requests: Requests) -> None:
    """By the name of its header, as `check --resolved` has it; what the event itself brought is shown."""
    headers = ((b"x-api-key", SECRET.encode()), (b"x-token-id", b"7"))
    text = told(requests, replace(DELIVERY, route="written", rendered=Rendered(headers=headers, body=b"1")))
    assert SECRET not in text
    assert "x-api-key: **********" in text
    assert "x-token-id: 7" in text


def test_what_goes_out_as_it_came_says_so(requests: Requests) -> None:
    """Its body is not shown twice; by another destination or none, the file tells no address."""
    assert "(the body as it came)" in told(requests, replace(DELIVERY, transform=False, rendered=None))
    gone = told(requests, replace(DELIVERY, destination="gone"))
    assert "its destination is not in the file" in gone
    assert '{"n":"a/b"}' in gone
    assert "an email or a task" in told(requests, replace(DELIVERY, destination="mail"))


def test_only_what_is_asked_for_is_shown(requests: Requests) -> None:
    """Headers without bodies, bodies without headers."""
    headers = told(requests, DELIVERY, replace(ALL, body=False))
    assert "x-team: blue" in headers
    assert '{"n"' not in headers
    body = told(requests, DELIVERY, replace(ALL, headers=False))
    assert "x-team: blue" not in body
    assert '{"n"' in body


@pytest.mark.parametrize("whole", [True, False], ids=["in a pipe", "on a terminal"])
def test_no_body_can_colour_or_forge_a_line(requests: Requests, *, whole: bool) -> None:
    """Its own line ends are kept; all else that a terminal obeys is written out."""
    event = replace(EVENT, body="first\r\n\tsecond\x1b[31m\u202e\x9b".encode())
    text = told(requests, replace(DELIVERY, transform=False, rendered=None), replace(ALL, whole=whole), event)
    assert "\n    first\n            second\\x1b[31m\\u202e\\x9b\n" in text
    assert "\n    x-\\x1b[31m: \ufffd\n" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("body", ["x" * 5_000, "line\n" * 300], ids=["long", "many lines"])
def test_a_terminal_shows_the_beginning_of_a_long_body(body: str) -> None:
    """With how much more there is and where; a pipe shows all."""
    text = [line.text for line in ALL.lines((), body.encode(), depth=0)]
    shown = "\n".join(text[:-1])
    assert body.startswith(shown)
    assert f"and {len(body) - len(shown):,} more characters" in text[-1]
    whole = [line.text for line in replace(ALL, whole=True).lines((), body.encode(), depth=0)]
    assert "\n".join(whole) == body


def test_bytes_are_shown_in_base64() -> None:
    """Whole in a pipe, by their number alone on a terminal; JSON has them in either case."""
    body = b"\x89PNG\0" + bytes(200)
    (line,) = ALL.lines((), body, depth=0)
    assert line.text == "(205 B of binary data; a pipe or --json shows it in base64)"
    _, *encoded = replace(ALL, whole=True).lines((), body, depth=0)
    assert base64.b64decode("".join(one.text for one in encoded)) == body
    assert body_json(b"\xff") == {"body": "/w==", "body_encoding": "base64"}
    assert [one.text for one in ALL.lines((), b"", depth=0)] == ["(no body)"]


def test_a_filtered_event_points_to_explain() -> None:
    """Which says of each route why not."""
    filtered = replace(EVENT, state=EventState.FILTERED, reason="no_match")
    text = "\n".join(line.text for line in lines(Journey(filtered, ()), NOW))
    assert "no route of this source matched; `relay explain evt_1` says more" in text
