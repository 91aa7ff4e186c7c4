"""Every mistake in one report: its place, its key, what was expected, the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay import config
from relay.config import Mistake, Place, describe
from relay.errors import ConfigError
from tests.unit.config.conftest import Mistakes

SOURCE = "sources: {a: {verify: none}}\n"
DESTINATION = "destinations: {d: {url: 'http://localhost/'}}\n"


def test_all_at_once(mistakes: Mistakes) -> None:
    """One report holds them all, in the order of the file."""
    found = mistakes(
        """\
        sources:
          github:
            verify: {scheme: githib, secrets: "${SECRE}"}
            dedop: 24h
        destinations:
          chat: {url: "ftp://chat/", timeout: 15}
        routes:
          - source: gihub
            to: [chat, caht]
        retntion: {}
        """,
        {"SECRET": "x"},
    )
    assert [line.partition(": ")[0] for line in found] == [
        "3:22", "3:39", "4:5", "6:15", "6:39", "8:13", "9:16", "10:1",
    ]  # fmt: skip
    assert found[0].endswith('found "githib"; did you mean "github"?')
    assert found[1].endswith('SECRE is not set; did you mean "SECRET"?')
    assert found[2] == '4:5: sources.github.dedop: unknown key; did you mean "dedup"?'
    assert found[4].endswith('found 15; did you mean "15s"?')
    assert found[5] == '8:13: routes[0].source: there is no source "gihub"; did you mean "github"?'
    assert found[6] == '9:16: routes[0].to: there is no destination "caht"; did you mean "chat"?'
    assert found[7] == '10:1: retntion: unknown key; did you mean "retention"?'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stop: yes", 'YAML takes "yes" for true'),
        ("stop: Off", 'YAML takes "Off" for false'),
        ("name: no", 'YAML takes "no" for false'),
        ("name: 12:30:00", "base 60"),
        ("name: 2026-01-02", "for a date"),
        ("name: 0123", "another number"),
        ("name: 1_000", "another number"),
        ("name: 99999999999999999999", "beyond 64 bits"),
        ("name: .inf", "another number"),
        ("on: x", 'YAML takes "on" for true'),
        ("when: !body.ok", "an unquoted `!`"),
        ("when: ! body.ok", "an unquoted `!`"),
        ("name: !!python/object:os.system x", "an unquoted `!`"),
        ("name: !!python/object/apply:os.system [ls]", "an unquoted `!`"),
        ("name: #chat", "ends before ` #`"),
        ("name: a #chat", "ends before ` #`"),
        ('when: body.x == "a # b"', "ends before ` #`"),
        ("name: {{ body.x }}", "begins with a hole"),
        ("<<: {name: x}", "merge keys"),
        ("name: *nothing", "is an alias"),
        ("stop: false\n    stop: true", "duplicate key, first written in line 5"),
    ],
)
def test_yaml_surprises(mistakes: Mistakes, line: str, expected: str) -> None:
    """What YAML 1.1 quietly makes of a value is a mistake with its line, and only one."""
    found = mistakes(f"{SOURCE}{DESTINATION}routes:\n  - source: a\n    {line}\n    to: d\n")
    assert len(found) == 1
    assert expected in found[0]
    assert re.match(r"[56]:\d+: ", found[0])


@pytest.mark.parametrize(
    "line",
    ["name: a # chat", "when: '\"a #b\" == body.x'", "stop: true  #-- x", "when: 'true' #", "name: ok"],
)
def test_no_surprise(mistakes: Mistakes, line: str) -> None:
    """An ordinary comment or a quoted value is none."""
    assert mistakes(f"{SOURCE}{DESTINATION}routes:\n  - source: a\n    {line}\n    to: d\n") == []


def test_words_in_quotes_are_text(mistakes: Mistakes) -> None:
    """Quoted, every surprising word is the text that it looks like."""
    text = "sources: {'on': {verify: none}, '12:30:00x': {verify: none}}\n"
    assert [line.partition(": ")[2] for line in mistakes(text)] == [
        'sources."12:30:00x": expected a name of letters, digits and . _ -'
    ]


def test_alias_bomb(mistakes: Mistakes) -> None:
    """Aliases may not multiply the file."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = mistakes("\n".join(lines))
    assert any("more than 100000 values, aliases written out" in line for line in found)


def test_an_alias_inside_itself(mistakes: Mistakes) -> None:
    """A value cannot hold itself."""
    assert "is an alias" in mistakes("sources: &a {x: *a}\n")[0]


def test_deep_nesting(mistakes: Mistakes) -> None:
    """Brackets without end are refused and do not end the process."""
    assert mistakes("sources: " + "[" * 100_000)[0].startswith("1:")


def test_an_alias_is_a_value(mistakes: Mistakes) -> None:
    """An anchor and its alias are one value in two places."""
    text = (
        "destinations:\n  a: {url: 'http://a/', retry: &r {jitter: 0}}\n  b: {url: 'http://b/', retry: *r}\n"
    )
    assert mistakes(SOURCE + text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources:\n\ta: {}\n", "2:1: not valid YAML: lines are indented by spaces, this one has a tab"),
        ("sources: {a: [}\n", "1:15: not valid YAML"),
        ("sources: 'a\n", "not valid YAML"),
        ("a: \0\n", "1:1: not valid YAML: a control character"),
        ("- a\n", "1:1: expected a mapping"),
        ("hello\n", "1:1: expected a mapping"),
        (f"{SOURCE}---\n{SOURCE}", "one document"),
        ("", "at least one source"),
        ("sources:\n", "at least one source"),
        ("sources: []\n", "1:10: sources: expected a mapping, found a list"),
        (SOURCE + "routes: {a: b}\n", "2:9: routes: expected a list of routes"),
        ("? [a]\n: b\n", "a key must be text"),
    ],
)
def test_not_a_configuration(mistakes: Mistakes, text: str, expected: str) -> None:
    """A file of another shape says what was expected."""
    assert any(expected in line for line in mistakes(text))


def test_places_of_expressions(mistakes: Mistakes) -> None:
    """An expression that does not compile is named by its own place, also inside a block."""
    found = mistakes(
        f"""{SOURCE}{DESTINATION}routes:
  - source: a
    when:
      - has(body.x
      - |
        event.type == "a" &&
          ==
    to: d
    transform:
      json: {{list: ["{{{{ body. }}}}"]}}
"""
    )
    keys = [line.split(": ")[1] for line in found]
    assert keys == ["routes[0].when[0]", "routes[0].when[1]", "routes[0].transform.json.list[0]"]
    assert [int(line.split(":")[0]) for line in found] == [6, 9, 12]
    assert all("does not compile" in line for line in found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{}", "verify: this key is required"),
        ("{verify: github}", "only `none` stands alone"),
        ("{verify: nope}", 'did you mean "none"?'),
        ("{verify: {secrets: x}}", "verify.scheme: this key is required"),
        ("{verify: {scheme: github}}", "verify.secrets: this key is required"),
        ("{verify: {scheme: github, secrets: ''}}", "at least one secret that is not empty"),
        ("{verify: {scheme: github, secrets: ['', '']}}", "at least one secret that is not empty"),
        ("{verify: {scheme: github, secrets: []}}", "at least one secret that is not empty"),
        ("{verify: {scheme: github, secrets: 123456}}", "expected text"),
        ("{verify: {scheme: github, secrets: x, header: y}}", "verify.header: unknown key"),
        ("{verify: {scheme: stripe, secrets: x, tolerence: 5m}}", 'did you mean "tolerance"?'),
        ("{verify: {scheme: api-key, secrets: x}}", "header"),
        ("{verify: {scheme: hmac, secrets: x, header: h, algorithm: md5}}", "algorithm: expected 'sha1'"),
        ("{verify: {scheme: hmac, secrets: x, header: h, signed: '{timestamp}{body}'}}", "timestamp_header"),
        ("{verify: none, dedup: 24h}", "dedup: none has no delivery id to go by"),
        ("{verify: none, auth: {}}", "auth: unknown key"),
        ("{verify: none, path: a}", "a path begins with /"),
        ("{verify: none, methods: [post]}", 'did you mean "POST"?'),
        ("{verify: none, methods: []}", "at least one entry"),
        ("{verify: none, max_body: 1GiB}", "from 1B to 256MiB"),
        ("{verify: none, respond: {status: 404}}", "at most 299"),
        ("{verify: none, respond: {status: 204, body: x}}", "has no body"),
        ("{verify: none, respond: {body: '{{ body }}'}}", "no {{ holes }} here"),
        ("hello", "expected a mapping"),
    ],
)
def test_sources(mistakes: Mistakes, source: str, expected: str) -> None:
    """A source that cannot be used says why."""
    found = mistakes(f"sources:\n  a: {source}\n")
    assert len(found) == 1
    assert expected in found[0]
    assert "123456" not in found[0]


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("{}", "expected one of `url`, `email` or `celery`"),
        ("{url: 'http://x/', timeout: {connect: 5s, total: 1s}}", "longer than `total`"),
        ("{url: 'http://x/', timeout: {totl: 1s}}", 'timeout.totl: unknown key; did you mean "total"?'),
        ("{url: 'http://x/', retry: {first_wait: 2h}}", "longer than `max_wait`"),
        ("{url: 'http://x/', retry: {factor: 0.5}}", "at least 1"),
        ("{url: 'http://x/', retry: {jitter: 2}}", "at most 1"),
        ("{url: 'http://x/', retry: {max_attempts: 1.5}}", "a whole number"),
        ("{url: 'http://x/', retry: {schedule: []}}", "at least one wait"),
        ("{url: 'http://x/', limits: {concurrency: 0}}", "at least 1"),
        ("{url: 'http://x/', limits: {concurrency: '4'}}", "a whole number"),
        ("{url: 'http://x/', limits: {rate: 4}}", 'did you mean "4/s"?'),
        ("{url: 'http://x/', headers: {Host: x}}", "set by Relay itself"),
        ("{url: 'http://x/', headers: {Relay-Source: x}}", "set by Relay itself"),
        ("{url: 'http://x/', headers: {X-A: 1}}", "put it in quotes"),
        ("{url: 'http://x/', headers: {X-A: a, x-a: b}}", "is there twice"),
        ("{url: 'http://x/', breaker: {failures: 0}}", "at least 1"),
        ("{url: 'http://x/', success: 2x}", "expected a status"),
        ("{url: 5}", "expected text"),
    ],
)
def test_destinations(mistakes: Mistakes, destination: str, expected: str) -> None:
    """A destination that cannot be used says why."""
    found = mistakes(f"{SOURCE}destinations:\n  d: {destination}\n")
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("{source: a}", "to: this key is required"),
        ("{to: d}", "source: this key is required"),
        ("{source: a, to: []}", "at least one entry"),
        ("{source: a, to: [d, d]}", "there twice"),
        ("{source: a, to: d, when: ''}", "expected a CEL expression"),
        ("{source: a, to: d, when: [true]}", "expected text, found true"),
        ("{source: a, to: d, stop: 'true'}", "expected true or false"),
        ("{source: a, to: d, transform: {}}", "expected `json`, `text`, `subject` or `headers`"),
        ("{source: a, to: d, transform: {json: {}, text: x}}", "exclude each other"),
        ("{source: a, to: d, transform: {json: {}, content_type: text/plain}}", "goes with `text`"),
        ("{source: a, to: d, transform: {text: x, headers: {X-A: 1}}}", "put it in quotes"),
        ("{source: a, to: d, name: 'a b'}", "expected a name"),
        ("{source: a, to: d, when: path.site == 'x'}", "does not compile"),
        ("{source: a, to: d, transform: {text: '{{ path.site }}'}}", "does not compile"),
        ("{source: a, to: d, transform: {json: {'{{ body. }}': 1}}}", "does not compile"),
        ("{source: a, to: d, order: {}}", "order.key: this key is required"),
    ],
)
def test_routes(mistakes: Mistakes, route: str, expected: str) -> None:
    """A route that cannot be used says why."""
    found = mistakes(f"{SOURCE}{DESTINATION}routes:\n  - {route}\n")
    assert len(found) == 1
    assert expected in found[0]


def test_duplicate_route_names(mistakes: Mistakes) -> None:
    """A name is there once, written or by default."""
    routes = ["{source: a, to: d}", "{source: a, to: d, when: 'true'}", "{source: a, to: d, name: a-to-d}"]
    found = mistakes(SOURCE + DESTINATION + "routes:\n" + "".join(f"  - {route}\n" for route in routes))
    assert [line.split(": ")[0] for line in found] == ["5:5", "6:30"]
    assert "give it a `name`" in found[0]


def test_hidden_routes(mistakes: Mistakes) -> None:
    """What stands behind a route that takes all and stops is named; other sources and filters are not."""
    found = mistakes(
        """\
        sources: {a: {verify: none}, b: {verify: none}}
        destinations: {d: {url: "http://localhost/"}}
        routes:
          - {name: one, source: a, to: d, when: "true", stop: true}
          - {name: two, source: a, to: d, stop: true}
          - {name: three, source: b, to: d}
          - {name: four, source: a, to: d}
        """
    )
    assert len(found) == 1
    assert found[0].startswith("7:5: routes[3]: no event comes here: the route in 5:5")


def test_overlapping_paths(mistakes: Mistakes) -> None:
    """Two sources on one path are refused, placeholders and default paths included."""
    found = mistakes(
        """\
        sources:
          a: {verify: none, path: "/x/{site}"}
          b: {verify: none, path: /x/berlin}
          c: {verify: none, path: /d}
          d: {verify: none}
        """
    )
    assert [line.split(": ")[0] for line in found] == ["3:27", "5:3"]


def test_the_name_of_relay_itself(mistakes: Mistakes) -> None:
    """Relay's own events need a source that nobody else has."""
    assert "Relay's own" in mistakes("sources: {relay: {verify: none}}\n")[0]


def test_defaults(mistakes: Mistakes) -> None:
    """A mistake in the defaults is told once, where it stands, with or without an entry to merge it into."""
    text = f"{SOURCE}destinations: {{d: {{url: 'http://d/'}}, e: {{url: 'http://e/'}}}}\n"
    text += (
        "defaults:\n  destination: {timeot: 3s, retry: {factor: 0}}\n  source: {verify: none}\n  sauce: {}\n"
    )
    found = mistakes(text)
    assert [line.split(": ")[0] for line in found] == ["4:17", "4:45", "5:12", "6:3"]


def test_unset_variables(mistakes: Mistakes) -> None:
    """An unset variable is a mistake, once, and none where it is allowed."""
    text = """\
        sources:
          a: {verify: {scheme: standard-webhooks, secrets: "${A}"}, max_body: "${B}", parse: "${C}"}
        destinations:
          d: {url: "${URL}", limits: {concurrency: "${N}"}, timeout: "${T}", success: "${S}", method: "${M}"}
          e: {url: "https://${HOST}:${PORT}/"}
        routes:
          - source: a
            to: d
            stop: "${STOP}"
            transform: {json: ["{{ ${X} }}"], headers: {X-A: "{{ ${X} }}"}}
          - {source: "${X}", to: "${X}", when: "body.${X}(", transform: {text: "{{ ${X} }}"}}
        """
    assert len(mistakes(text)) == 17
    assert all("is not set" in line for line in mistakes(text))
    assert mistakes(text, allow_unset=True) == []


def test_nothing_filled_in_is_shown(mistakes: Mistakes) -> None:
    """The value of a variable or a file is in no message, whatever key it was meant for."""
    keys = ["max_body", "parse", "dedup", "methods", "allow_ips", "path", "verify", "respond"]
    lines = [f"  s{n}: {{verify: none, {key}: '${{V}}'}}\n" for n, key in enumerate(keys) if key != "verify"]
    lines += ["  v1: {verify: '${V}'}\n", "  v2: {verify: {scheme: '${V}', secrets: x}}\n"]
    lines += ["  v3: {verify: {scheme: standard-webhooks, secrets: 'a${V}'}}\n"]
    text = "sources:\n" + "".join(lines) + "destinations:\n"
    for n, key in enumerate(["url", "method", "timeout", "success", "retry", "limits", "headers"]):
        text += f"  d{n}: {{url: 'http://x/', {key}: '${{V}}'}}\n".replace("url: 'http://x/', url", "url")
    text += "routes:\n  - {source: '${V}', to: ['${V}'], name: '${V}', when: '${V}', stop: '${V}'}\n"
    text += (
        "  - {source: s0, to: d0, transform: {text: '{{ ${V} }}', headers: '${V}', content_type: '${V}'}}\n"
    )
    text += "retention: {dead: '${V}', max_size: '${V}'}\n"
    found = mistakes(text, {"V": "se krit ("})
    assert len(found) > 20
    assert not any("krit" in line for line in found)


def test_terminal_tricks_are_escaped(mistakes: Mistakes) -> None:
    """A key cannot colour the terminal or begin a line of its own."""
    found = mistakes('sources: {a: {verify: none, "x\\e[31m\\ny": 1}}\n')
    assert len(found) == 1
    assert found[0].isprintable()


def test_a_folder(tmp_path: Path) -> None:
    """Files of a folder are one configuration; a name in two of them is a mistake that names both."""
    (tmp_path / "a.yaml").write_text("sources: {a: {verify: none}}\nretention: {dead: 1d}\n")
    (tmp_path / "b.yml").write_text(DESTINATION + "routes: [{source: a, to: d}]\n")
    (tmp_path / ".hidden.yaml").write_text("nonsense: 1\n")
    loaded = config.load(tmp_path, {})
    assert [route.name for route in loaded.routes["a"]] == ["a-to-d"]

    (tmp_path / "c.yaml").write_text(SOURCE + "retention: {}\nroutes: [{source: a, to: d}]\n")
    with pytest.raises(ConfigError) as raised:
        config.load(tmp_path, {})
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert f"{tmp_path}/c.yaml:1:11: sources.a: duplicate name, first used in {tmp_path}/a.yaml:1:11" in lines
    assert all("c.yaml" in line for line in lines)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, an empty folder, or bytes that are no text: one clear line each."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin").write_bytes(b"sources:\n  a: \xe9\n")
    for name, expected in [
        ("none.yaml", "no such file"),
        ("empty", "no .yaml file"),
        ("latin", ":2:1: not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=expected) as raised:
            config.load(tmp_path / name, {})
        assert len(str(raised.value).splitlines()) == 1


def test_describe_is_ordered_and_bounded() -> None:
    """The report goes by the files, tells each mistake once, and ends."""
    made = [Mistake(Place("f", line, 1), "k", "wrong") for line in range(500, 0, -1)]
    lines = describe([*made, *made]).splitlines()
    assert lines[0] == "f:1:1: k: wrong"
    assert lines[-1] == "… and 300 more"
    assert len(lines) == 201
