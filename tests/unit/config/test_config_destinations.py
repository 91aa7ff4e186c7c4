"""What a destination becomes: an HTTP API, a mailbox or a task, and how it wants to be treated."""

from __future__ import annotations

import pytest

from relay.breaker import BreakerPolicy
from relay.config import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    Celery,
    Configuration,
    Destination,
    Email,
    OAuth2Auth,
)
from relay.model import Request
from relay.signatures import build
from tests.unit.config.conftest import VIEW, Load, http_of

SOURCE = "sources: {a: {verify: none, path: '/a/{site}'}}\n"


def destination(load: Load, text: str, environ: dict[str, str] | None = None) -> Destination:
    """The one destination with these keys."""
    return load(f"{SOURCE}destinations:\n  d: {text}\n", environ).destinations["d"]


def test_defaults(load: Load) -> None:
    """What is not written is off, but for the breaker and the pause on 410."""
    made = destination(load, "{url: 'https://d/'}")
    http = http_of(made)
    assert (made.rate, made.order, made.max_backlog) == (None, None, None)
    assert made.breaker == BreakerPolicy(failures=10, cooldown=30)
    assert made.retry.pause_on == {410}
    assert made.retry.schedule == ()
    assert (http.forward_query, http.auth, http.sign, http.tls) == (False, None, (), None)


def test_limits(load: Load) -> None:
    """Rates are attempts a second, whatever the unit that they are written in."""
    made = destination(load, "{url: 'http://d/', limits: {rate: 600/m}, max_backlog: 5}")
    assert made.rate == 10
    assert made.max_backlog == 5


@pytest.mark.parametrize("word", ["none", "null", "~"])
def test_no_breaker(load: Load, word: str) -> None:
    """A breaker can be switched off."""
    assert destination(load, f"{{url: 'http://d/', breaker: {word}}}").breaker is None


def test_breaker(load: Load) -> None:
    """A breaker has what is written, and its defaults."""
    made = destination(load, "{url: 'http://d/', breaker: {failures: 3}}")
    assert made.breaker == BreakerPolicy(failures=3, cooldown=30)


def test_schedule(load: Load) -> None:
    """A schedule stands for the waits that grow; no bound on a Retry-After cuts it short."""
    policy = destination(load, "{url: 'http://d/', retry: {schedule: [5s, 5m, 30m, 2h]}}").retry
    assert policy.schedule == (5, 300, 1800, 7200)
    assert policy.jitter == 0.2
    assert policy.max_wait == 7200
    assert destination(load, "{url: 'http://d/', retry: {schedule: 5s}}").retry.max_wait == 3600


@pytest.mark.parametrize(
    ("written", "success", "give_up_on", "pause_on"),
    [
        ("retry: {give_up_on: [410]}", {200}, {410}, set()),
        ("retry: {give_up_on: [404, 204]}", {200}, {404, 204}, {410}),
        ("success: [2xx, 410]", {200, 410}, set(), set()),
        ("retry: {pause_on: [410, 401]}", {200}, set(), {410, 401}),
        ("retry: {pause_on: []}", {200}, set(), set()),
    ],
)
def test_a_default_gives_way(
    load: Load, written: str, success: set[int], give_up_on: set[int], pause_on: set[int]
) -> None:
    """A status that is written in one place is in no default of another."""
    made = destination(load, f"{{url: 'http://d/', {written}}}")
    assert http_of(made).success.statuses & {200, 204, 410} == success | ({204} - give_up_on)
    assert made.retry.give_up_on == give_up_on
    assert made.retry.pause_on == pause_on


@pytest.mark.parametrize(
    ("written", "hold"),
    [("body.id", False), ("{key: body.id}", False), ("{key: body.id, on_dead: hold}", True)],
)
def test_order(load: Load, written: str, *, hold: bool) -> None:
    """An order is a key, or a key and what a dead delivery does."""
    order = destination(load, f"{{url: 'http://d/', order: {written}}}").order
    assert order is not None
    assert order.key.evaluate(VIEW) == 7
    assert order.hold is hold


def test_order_of_a_route(load: Load) -> None:
    """A route may have an order of its own."""
    loaded = load(
        f"""{SOURCE}destinations: {{d: {{url: 'http://d/', order: body.id}}}}
routes:
  - {{source: a, to: d, order: path.site}}
  - {{source: a, to: d, name: b}}
"""
    )
    one, other = loaded.routes["a"]
    assert one.order is not None
    assert one.order.key.evaluate(VIEW) == "berlin"
    assert other.order is None


def test_holes_in_a_url(load: Load) -> None:
    """Holes stand in path and query, braces and quotes inside them included."""
    text = (
        """{url: 'https://d:8443/{{ {"a": "}}"}["a"] }}/{{ path.site }}?id={{ body.id }}', query: forward}"""
    )
    http = http_of(destination(load, text))
    assert http.url.text(VIEW) == "https://d:8443/}}/berlin?id=7"
    assert http.forward_query


def test_braces_in_a_hole(load: Load) -> None:
    """The braces of a map are no end of the hole that they stand in."""
    text = """{url: 'https://d/{{ {"a": {"b": path.site}}.a.b }}'}"""
    assert http_of(destination(load, text)).url.text(VIEW) == "https://d/berlin"


@pytest.mark.parametrize(
    ("written", "auth"),
    [
        ("{type: bearer, token: s}", BearerAuth(token="s")),
        ("{type: basic, username: u, password: s}", BasicAuth(username="u", password="s")),
        ("{type: api-key, header: X-Key, value: s}", ApiKeyAuth(header="X-Key", query=None, value="s")),
        ("{type: api-key, query: key, value: s}", ApiKeyAuth(header=None, query="key", value="s")),
        (
            "{type: oauth2, token_url: 'https://id/token', client_id: relay, client_secret: s, scope: a b}",
            OAuth2Auth(token_url="https://id/token", client_id="relay", client_secret="s", scope="a b"),
        ),
    ],
)
def test_auth(load: Load, written: str, auth: Auth) -> None:
    """Each way to be known to an API has its own keys."""
    assert http_of(destination(load, f"{{url: 'https://d/', auth: {written}}}")).auth == auth


def _posted(headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> Request:
    return Request(
        method="POST", path="/", query=b"", headers=headers, body=body, url="", remote=None, received_at=0.0
    )


def test_sign_by_standard_webhooks(load: Load) -> None:
    """Each secret makes a scheme of its own, which signs as the receiver verifies."""
    http = http_of(
        destination(
            load,
            "{url: 'https://d/', sign: {scheme: standard-webhooks,"
            " secrets: [c2VjcmV0LTE=, '', c2VjcmV0LTI=]}}",
        )
    )
    assert len(http.sign) == 2
    for scheme, secret in zip(http.sign, (b"c2VjcmV0LTE=", b"c2VjcmV0LTI="), strict=True):
        headers = scheme.sign(b"x", now=5.0, event_id="msg_1", url="https://d/")
        receiver = build("standard-webhooks", {"secrets": [secret]})
        assert receiver.verify(_posted(headers, b"x"), now=5.0).secret_index == 0


def test_sign_by_hmac(load: Load) -> None:
    """The options of `sign` are those of `verify`."""
    options = (
        "header: X-Sig, algorithm: sha512, encoding: base64, prefix: 'v1=', signed: '{timestamp}.{body}', "
    )
    options += "timestamp_header: X-Time"
    [scheme] = http_of(
        destination(load, f"{{url: 'https://d/', sign: {{scheme: hmac, secrets: s, {options}}}}}")
    ).sign
    headers = dict(scheme.sign(b"x", now=5.0, event_id="evt_1", url="https://d/"))
    assert headers[b"x-sig"].startswith(b"v1=")
    assert headers[b"x-time"] == b"5"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("smtp: 'smtp://localhost'", ("localhost", 25, "none", None, None)),
        ("smtp: 'smtp://u:p%40ss@127.0.0.1:2525'", ("127.0.0.1", 2525, "none", "u", "p@ss")),
        (
            "smtp: 'smtp://u:p@mail.example.com', starttls: true",
            ("mail.example.com", 587, "starttls", "u", "p"),
        ),
        ("smtp: 'smtp://u:p@mail.example.com', starttls: false", ("mail.example.com", 25, "none", "u", "p")),
        ("smtp: 'smtps://u:p@mail.example.com'", ("mail.example.com", 465, "implicit", "u", "p")),
    ],
)
def test_email(load: Load, written: str, expected: tuple[object, ...]) -> None:
    """A mail server's URL says host, port, user and password; TLS goes by it and `starttls`."""
    made = destination(
        load, f"{{email: {{to: [a@example.com, b@example.com], from: relay@example.com, {written}}}}}"
    )
    email = made.target
    assert isinstance(email, Email)
    assert email.to == ("a@example.com", "b@example.com")
    assert email.sender == "relay@example.com"
    assert (email.host, email.port, email.tls, email.username, email.password) == expected


def test_celery(load: Load) -> None:
    """A task has a broker, a name, perhaps a queue, and the body as text unless written."""
    made = destination(
        load, "{celery: {broker: '${B}', task: reports.tasks.build, queue: heavy}}", {"B": "redis://r/0"}
    )
    assert made.target == Celery(
        broker="redis://r/0", task="reports.tasks.build", queue="heavy", encoding="text"
    )


def test_defaults_go_where_there_is_a_place(load: Load) -> None:
    """Defaults of an HTTP API do not reach a mailbox, nor another kind of auth, nor the other waits."""
    loaded = load(
        f"""{SOURCE}destinations:
  mail: {{email: {{to: a@b.c, from: a@b.c, smtp: 'smtp://localhost'}}}}
  task: {{celery: {{broker: 'memory://', task: t}}}}
  web: {{url: 'https://d/', auth: {{type: basic, username: u, password: p}}, retry: {{schedule: [1s]}}}}
  plain: {{url: 'http://d/', retry: {{max_age: 1d}}}}
  silent: {{url: 'https://d/', auth: null, breaker: none}}
defaults:
  destination:
    headers: {{X-A: b}}
    auth: {{type: bearer, token: t}}
    retry: {{first_wait: 1s, max_wait: 2s}}
    timeout: 3s
    breaker: {{failures: 2}}
"""
    )
    made = loaded.destinations
    assert {each.timeout.total for each in made.values()} == {3}
    assert http_of(made["web"]).auth == BasicAuth(username="u", password="p")
    assert made["web"].retry.schedule == (1,)
    assert http_of(made["plain"]).auth == BearerAuth(token="t")
    assert made["plain"].retry.max_wait == 2
    assert http_of(made["silent"]).auth is None
    assert made["silent"].breaker is None
    assert made["mail"].breaker == BreakerPolicy(failures=2, cooldown=30)


def test_a_schedule_among_the_defaults(load: Load) -> None:
    """Waits that grow replace a schedule that all others have."""
    loaded = load(
        f"""{SOURCE}destinations:
  one: {{url: 'http://d/', retry: {{first_wait: 7s}}}}
  other: {{url: 'http://d/'}}
defaults: {{destination: {{retry: {{schedule: [1s]}}}}}}
"""
    )
    assert loaded.destinations["one"].retry.schedule == ()
    assert loaded.destinations["one"].retry.first_wait == 7
    assert loaded.destinations["other"].retry.schedule == (1,)


def test_no_secret_in_repr(load: Load) -> None:
    """No representation shows what a destination is known by."""
    loaded: Configuration = load(
        f"""{SOURCE}destinations:
  one:
    url: 'https://d/'
    auth: {{type: bearer, token: sekrit}}
    sign: {{scheme: hmac, secrets: sekrit, header: h}}
  two: {{email: {{to: a@b.c, from: a@b.c, smtp: 'smtp://u:sekrit@localhost'}}}}
  three: {{celery: {{broker: 'redis://:sekrit@r/', task: t}}}}
  four: {{url: 'https://d/', auth: {{type: basic, username: u, password: sekrit}}}}
  five: {{url: 'https://d/', auth: {{type: api-key, header: X, value: sekrit}}}}
egress: {{proxy: 'http://u:sekrit@proxy:3128'}}
"""
    )
    assert "sekrit" not in repr(loaded)
    for each in loaded.destinations.values():
        assert "sekrit" not in repr(each)
        assert "sekrit" not in repr(each.target)
