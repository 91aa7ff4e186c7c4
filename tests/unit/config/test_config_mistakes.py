"""Each wrong value of a destination, a handshake, egress or alerts says what was expected, at its place."""

from __future__ import annotations

import pytest

from tests.unit.config.conftest import Mistakes

SOURCE = "sources: {a: {verify: none}}\n"
DESTINATION = "destinations: {d: {url: 'http://localhost/'}}\n"
MAIL = (
    "destinations: {m: {email: {to: a@b.c, from: a@b.c, smtp: 'smtp://localhost'}}, d: {url: 'http://d/'}}\n"
)


def one(found: list[str]) -> tuple[int, str]:
    """The column of the only mistake, and what is said about it."""
    assert len(found) == 1, found
    place, _, message = found[0].partition(": ")
    return int(place.split(":")[1]), message


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        ("email: {}, url: 'http://x/'", "email", "`url` and `email` exclude each other"),
        ("url: null", "d:", "expected one of `url`, `email` or `celery`"),
        ("urll: 'http://x/'", "d:", "expected one of `url`"),
    ],
)
def test_kinds(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """A destination is one thing."""
    text = f"  d: {{{keys}}}"
    found = [line for line in mistakes(f"{SOURCE}destinations:\n{text}\n") if expected in line]
    assert one(found)[0] == text.index(marked) + 1


@pytest.mark.parametrize("key", ["method: POST", "query: forward", "headers: {X-A: b}", "success: 2xx"])
def test_keys_of_an_api_alone(mistakes: Mistakes, key: str) -> None:
    """What a mailbox or a task has no use for is refused where it stands."""
    for kind in (
        "email: {to: a@b.c, from: a@b.c, smtp: 'smtp://localhost'}",
        "celery: {broker: 'memory://', task: t}",
    ):
        text = f"  d: {{{kind}, {key}}}"
        column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
        assert column == text.index(key) + 1
        assert "goes with `url`, and this is a" in message


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        ("limits: {rate: 100}", "100", 'such as 100/s, 600/m or 10/h, found 100; did you mean "100/s"?'),
        ("limits: {rate: 5/min}", "5/min", 'did you mean "5/m"?'),
        ("limits: {rate: 0/s}", "0/s", "above zero"),
        ("query: keep", "keep", "expected 'forward', found \"keep\""),
        ("breaker: false", "false", "expected {failures, cooldown}, or `none` for no breaker, found false"),
        ("breaker: {cooldwn: 3s}", "cooldwn", 'unknown key; did you mean "cooldown"?'),
        ("breaker: {cooldown: 0s}", "0s", "longer than zero"),
        ("order: {on_dead: hold}", "order", "order.key: this key is required"),
        ("order: {key: body.id, on_dead: hodl}", "hodl", 'did you mean "hold"?'),
        ("order: body.", "}", "does not compile"),
        ("order: {key: header.x}", "header", "did you mean 'headers'?"),
        ("max_backlog: 0", "0", "at least 1"),
        ("retry: {schedule: [5s, 5]}", "5]", 'did you mean "5s"?'),
        ("retry: {schedule: [5s], max_wait: 1h}", "1h", "`max_wait` has no place beside it"),
        ("retry: {schedule: [5s], first_wait: 1s}", "1s", "`first_wait` has no place beside it"),
        ("retry: {first_wait: 2h}", "2h", "longer than `max_wait`"),
        ("retry: {give_up_on: [404, 410], pause_on: 410}", "410}", "410 stands in `give_up_on` too"),
        ("success: 2xx, retry: {give_up_on: 204}", "204", "204 stands in `success` too (3:"),
        ("success: 4xx, retry: {pause_on: 4xx}", "4xx}", "400, 401, 402, … stands in `success` too"),
        ("timeout: {connect: 40s}", "40s", "longer than `total`"),
        ("tls: {ca: x}, url: 'http://d/'", "tls", "`tls` goes with https://"),
    ],
)
def test_treatment(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """How a destination is treated: each mistake at its value."""
    keys = keys if "url:" in keys else f"url: 'https://x/', {keys}"
    text = f"  d: {{{keys}}}"
    found = [line for line in mistakes(f"{SOURCE}destinations:\n{text}\n") if "cannot be read" not in line]
    column, message = one(found)
    assert expected in message
    assert column == text.index(marked) + 1


@pytest.mark.parametrize(
    ("url", "offset", "expected"),
    [
        ("{{ body.url }}", 0, "a hole may stand in the path and the query only"),
        ("https://{{ body.host }}/", 0, "a hole may stand in the path and the query only"),
        ("https://x{{ body.host }}/", 0, "a hole may stand in the path and the query only"),
        ("https://x:{{ body.port }}/", 0, "a hole may stand in the path and the query only"),
        ("https://{{ body.user }}@x/", 0, "a hole may stand in the path and the query only"),
        ("{{ body.scheme }}://x/", 0, "a hole may stand in the path and the query only"),
        ("https://127.1/{{ body.id }}", 0, 'did you mean "127.0.0.1"?'),
        ("https://x/{{ body.id }}#{{ body.id }}", 0, "a fragment"),
        ("https://x/{{ body.id }} b", 0, "a URL has no spaces"),
        ("https://x/{{ bdy.id }}", 13, "did you mean 'body'?"),
        ("https://x/{{ body.id", 10, "this hole is not closed"),
    ],
)
def test_holes(mistakes: Mistakes, url: str, offset: int, expected: str) -> None:
    """No hole decides where a request goes, and a wrong one is told by its own place."""
    text = f"  d: {{url: '{url}'}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert expected in message
    assert column == text.index("'") + 1 + (offset + 1 if offset else 0)


@pytest.mark.parametrize(
    ("auth", "marked", "expected"),
    [
        ("sekrit", "sekrit", "expected a mapping such as {type: bearer"),
        (
            "{}",
            "auth",
            "type: this key is required, and missing: expected one of bearer, basic, api-key, oauth2",
        ),
        ("{type: barer, token: x}", "barer", 'did you mean "bearer"?'),
        ("{type: bearer, tokn: x, token: y}", "tokn", 'unknown key; did you mean "token"?'),
        ("{type: bearer}", "auth", "token: this key is required"),
        ("{type: bearer, token: ''}", "''", "not empty"),
        ("{type: bearer, token: 123456}", "123456", "expected text, found something else"),
        ('{type: bearer, token: "a\\nb"}', '"a', "no line breaks"),
        ("{type: basic, username: 'a:b', password: x}", "'a:b'", "no colon"),
        ("{type: api-key, value: x}", "{type", "expected `header` or `query`"),
        ("{type: api-key, value: x, header: a, query: b}", "b}", "exclude each other"),
        ("{type: api-key, value: x, header: Host}", "Host", "set by Relay itself"),
        ("{type: oauth2, token_url: htp://x, client_id: a, client_secret: b}", "htp", 'did you mean "http"?'),
        ("{type: oauth2, token_url: 'http://x/', client_id: '', client_secret: b}", "''", "found nothing"),
    ],
)
def test_auth(mistakes: Mistakes, auth: str, marked: str, expected: str) -> None:
    """Each way to be known says what it needs, and never what it was given."""
    text = f"  d: {{url: 'https://x/', auth: {auth}}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1
    assert "123456" not in message


@pytest.mark.parametrize(
    ("sign", "marked", "expected"),
    [
        ("yes please", "yes", "expected a mapping such as {scheme: standard-webhooks"),
        ("{scheme: stripe, secrets: x}", "stripe", "expected one of standard-webhooks, hmac"),
        ("{scheme: standard-webhooks}", "sign", "secrets: this key is required"),
        ("{scheme: standard-webhooks, secrets: ['', '']}", "['", "at least one secret that is not empty"),
        ("{scheme: standard-webhooks, secrets: [c2VjcmV0, '%']}", "'%'", "this secret"),
        (
            "{scheme: standard-webhooks, secrets: whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=}",
            "whpk",
            "public",
        ),
        ("{scheme: hmac, secrets: [a, b], header: h}", "[a", "hmac signs by one secret, found 2"),
        ("{scheme: hmac, secrets: a}", "sign", "header: this key is required"),
        ("{scheme: hmac, secrets: a, header: h, algorithm: sha-256}", "sha-256", 'did you mean "sha256"?'),
        ("{scheme: hmac, secrets: a, header: h, tolerance: 5m}", "tolerance", "unknown key"),
        (
            "{scheme: hmac, secrets: sekrit, header: h, signed: '{id}{body}'}",
            "{scheme",
            "its header in id_header",
        ),
        (
            "{scheme: hmac, secrets: id, header: h, signed: '{id}{body}'}",
            "{scheme",
            "this cannot sign as hmac",
        ),
        ("{scheme: hmac, secrets: a, header: Relay-Sig}", "Relay-Sig", "set by Relay itself"),
    ],
)
def test_sign(mistakes: Mistakes, sign: str, marked: str, expected: str) -> None:
    """What could not sign is found when the file loads, and not at the first delivery."""
    text = f"  d: {{url: 'https://x/', sign: {sign}}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        (
            "auth: {type: bearer, token: x}, headers: {authorization: y}",
            "authorization",
            "`auth` writes this",
        ),
        (
            "auth: {type: api-key, header: X-K, value: x}, headers: {x-k: y}",
            "x-k",
            "`auth` writes this header",
        ),
        (
            "sign: {scheme: standard-webhooks, secrets: eA==}, headers: {Webhook-Id: y}",
            "Webhook",
            "`sign` writes",
        ),
        (
            "auth: {type: api-key, header: X-K, value: x}, sign: {scheme: hmac, secrets: x, header: x-k}",
            "sign",
            '`auth` writes the header "x-k" too',
        ),
    ],
)
def test_headers_written_twice(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """A header has one author."""
    text = f"  d: {{url: 'https://x/', {keys}}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        ("to: [], from: a@b.c, smtp: 'smtp://x'", "[]", "at least one entry"),
        ("to: ops, from: a@b.c, smtp: 'smtp://x'", "ops", "expected an address such as ops@example.com"),
        ("to: a@b.c, smtp: 'smtp://x'", "email", "from: this key is required"),
        ("to: a@b.c, from: a@b.c, smtp: 'mail:25'", "'mail", "expected a mail server such as smtp://"),
        ("to: a@b.c, from: a@b.c, smtp: 'stmp://x'", "'stmp", 'did you mean "smtp"?'),
        ("to: a@b.c, from: a@b.c, smtp: 'smtp://u:sek/rit@x'", "'smtp", "in a password, / ? #"),
        (
            "to: a@b.c, from: a@b.c, smtp: 'smtp://sekrit@x'",
            "'smtp",
            "a user name and a password, or neither",
        ),
        ("to: a@b.c, from: a@b.c, smtp: 'smtp://u:sek rit@x'", "'smtp", 'found "…@x"'),
        ("to: a@b.c, from: a@b.c, smtp: 'mtp://u:sekrit@x'", "'mtp", 'found "…@x"; did you mean "smtp"?'),
        ("to: a@b.c, from: a@b.c, smtp: 'smtp://127.1'", "'smtp", "plain spelling"),
        (
            "to: a@b.c, from: a@b.c, smtp: 'smtp://u:sekrit@mail.x'",
            "'smtp",
            "the password would go unencrypted",
        ),
        ("to: a@b.c, from: a@b.c, smtp: 'smtps://x', starttls: true", "true", "take `starttls` out"),
    ],
)
def test_email(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """A mailbox that could not be written to says why, and no password."""
    text = f"  d: {{email: {{{keys}}}}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1
    assert "sekrit" not in message


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        ("task: t", "celery", "broker: this key is required"),
        ("broker: 'localhost:6379', task: t", "'local", "expected a broker such as redis://"),
        ("broker: 'redsi://x/', task: t", "'redsi", 'did you mean "redis"?'),
        ("broker: 'redsi://:sekrit@x/', task: t", "'redsi", 'found "…@x/"'),
        ("broker: ':sekrit@x:6379', task: t", "':sek", 'found "…@x:6379"'),
        ("broker: 'redis://x/', task: 'a b'", "'a b'", "expected the name of a task"),
        ("broker: 'redis://x/', task: t, encoding: bas64", "bas64", 'did you mean "base64"?'),
    ],
)
def test_celery(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """A task that could not be called says why."""
    text = f"  d: {{celery: {{{keys}}}}}"
    column, message = one(mistakes(f"{SOURCE}destinations:\n{text}\n"))
    assert "sekrit" not in message
    assert expected in message
    assert column == text.index(marked) + 1


@pytest.mark.parametrize(
    ("keys", "marked", "expected"),
    [
        ("rate: fast", "fast", "expected a rate such as 100/s"),
        ("silent_after: 0s", "0s", "longer than zero"),
        ("handshake: 5", "5", "expected a mapping, found 5"),
        ("handshake: [{respond: {}}]", "{respond", "when: this key is required"),
        ("handshake: [{when: [], respond: {}}]", "[],", "or every request would be answered and none stored"),
        ("handshake: [{when: 'true'}]", "{when", "respond: this key is required"),
        ("handshake: [{when: 'true', respond: {status: 302}}]", "302", "at most 299"),
        ("handshake: [{when: 'true', respond: {status: 204, body: x}}]", "x}", "has no body"),
        ("handshake: [{when: quary.x, respond: {}}]", "quary", "did you mean 'query'?"),
        ("handshake: {when: 'true', respond: {body: '{{ path.x }}'}}", "x }}", "has no placeholder 'x'"),
    ],
)
def test_sources(mistakes: Mistakes, keys: str, marked: str, expected: str) -> None:
    """A handshake is asked and answered by what there is."""
    text = f"  a: {{verify: none, {keys}}}"
    column, message = one(mistakes(f"sources:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1


@pytest.mark.parametrize(
    ("section", "marked", "expected"),
    [
        ("egress: {deny: [10.1.2.3/8]}", "10.1", 'did you mean "10.0.0.0/8"?'),
        (
            "egress: {allow: [10.0.0.0/8]}",
            "10.0",
            "`allow` makes exceptions to `deny`, and does nothing else",
        ),
        ("egress: {deny: 10.0.0.0/8, allow: '::1'}", "'::1'", "is not denied"),
        ("egress: {proxy: enviroment}", "enviroment", 'did you mean "environment"?'),
        ("egress: {proxy: 'socks5://x:1'}", "'socks5", "expected a proxy such as http://"),
        ("egress: {proxy: 'http://u:sekrit@x:3128/path'}", "'http", "ends after its host and port"),
        ("egress: {denny: []}", "denny", 'did you mean "deny"?'),
        ("egress: []", "[]", "expected a mapping"),
        ("alerts: {to: d}", "{to", "expected a list of alerts, each begun by `- `"),
        ("alerts: [{}]", "{}", "to: this key is required"),
        ("alerts: [{to: e}]", "e}", 'there is no destination "e"'),
        ("alerts: [{about: ded, to: d}]", "ded", 'did you mean "dead"?'),
        ("alerts: [{about: [dead, lag], to: d}]", "lag", "expected one of dead, lagging"),
        ("alerts: [{about: dead, to: d, lag: 5m}]", "5m", "`lag` goes with `lagging`"),
        ("alerts: [{abuot: dead, to: d}]", "abuot", 'did you mean "about"?'),
    ],
)
def test_sections(mistakes: Mistakes, section: str, marked: str, expected: str) -> None:
    """What is wrong in egress and alerts is told at its place."""
    column, message = one(mistakes(f"{SOURCE}{DESTINATION}{section}\n"))
    assert expected in message
    assert column == section.index(marked) + 1
    assert "sekrit" not in message


@pytest.mark.parametrize(
    ("transform", "marked", "expected"),
    [
        ("to: [m, d], transform: {subject: x}", "subject", 'a subject is for an email, and "d" is none'),
        ("to: m, transform: {subject: x, json: {}}", "x,", "`subject` goes with `text`, or alone"),
        ("to: m, transform: {subject: '{{ bdy.x }}'}", "bdy", "did you mean 'body'?"),
        ("to: d, order: {key: path.x}", "x}", "path has no placeholder 'x'"),
    ],
)
def test_routes(mistakes: Mistakes, transform: str, marked: str, expected: str) -> None:
    """A subject is an email's, and an order's key is an expression."""
    text = f"  - {{source: a, {transform}}}"
    column, message = one(mistakes(f"{SOURCE}{MAIL}routes:\n{text}\n"))
    assert expected in message
    assert column == text.index(marked) + 1


def test_nothing_filled_in_is_shown(mistakes: Mistakes) -> None:
    """The value of a variable is in no message, whatever key it was meant for."""
    text = """\
        sources:
          a: {verify: none, rate: "${V}", silent_after: "${V}", handshake: "${V}"}
          b: {verify: none, handshake: [{when: "${V}", respond: {status: "${V}", body: "{{ ${V} }}"}}]}
        destinations:
          a: {url: "${V}{{ body.id }}", query: "${V}", limits: {rate: "${V}"}, breaker: "${V}", order: "${V}",
              max_backlog: "${V}", retry: {schedule: ["${V}"], pause_on: "${V}"}, auth: "${V}", sign: "${V}",
              tls: "${V}"}
          b: {url: "https://x/{{ ${V} }}", auth: {type: "${V}"}, sign: {scheme: "${V}"}, tls: {ca: "${V}"}}
          c: {url: "https://x/", auth: {type: oauth2, token_url: "${V}", client_id: a, client_secret: "${W}"},
              sign: {scheme: standard-webhooks, secrets: "${V}"}, order: {key: "${V}", on_dead: "${V}"}}
          d: {url: "https://x/", auth: {type: basic, username: "${W}", password: "${W}"},
              sign: {scheme: hmac, secrets: a, header: "${V}", algorithm: "${V}", encoding: "${V}",
                     signed: "${V}"}}
          e: {email: {to: "${V}", from: "${V}", smtp: "${V}", starttls: "${V}"}}
          f: {email: {to: a@b.c, from: a@b.c, smtp: "smtp://u:${V}@h:${V}"}}
          g: {celery: {broker: "${V}", task: "${V}", encoding: "${V}"}}
        egress: {deny: "${V}", allow: "${V}", proxy: "${V}"}
        alerts: [{about: "${V}", to: "${V}", lag: "${V}"}]
        """
    found = mistakes(text, {"V": "se krit (", "W": "krit\n"})
    assert len(found) > 40
    assert not any("krit" in line for line in found)
