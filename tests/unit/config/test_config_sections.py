"""Sources' newer keys, egress, alerts, and what tells that a file changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from relay import config
from relay.config.model import ABOUT
from relay.errors import ConfigError
from tests.unit.config.conftest import VIEW, Load, Mistakes

SOURCE = "sources: {a: {verify: none}}\n"
DESTINATION = "destinations: {d: {url: 'http://localhost/'}}\n"


def test_rate_and_silence(load: Load) -> None:
    """Both are off unless written."""
    loaded = load("sources: {a: {verify: none, rate: 10/h, silent_after: 6h}, b: {verify: none}}\n")
    assert loaded.sources["a"].rate == pytest.approx(1 / 360)
    assert loaded.sources["a"].silent_after == 21600
    assert (loaded.sources["b"].rate, loaded.sources["b"].silent_after) == (None, None)


def test_handshakes(load: Load) -> None:
    """A handshake is asked by expressions and answered with holes; one may stand for a list of one."""
    loaded = load(
        """\
        sources:
          a:
            path: /a/{site}
            verify: none
            handshake:
              - when: ['method == "GET"', "has(query.challenge)"]
                respond: {body: "{{ query.challenge }}"}
              - {when: path.site == "berlin", respond: {status: 204}}
          b: {verify: none, handshake: {when: "body.id == 7", respond: {body: "{{ body.id }}!"}}}
        """
    )
    first, second = loaded.sources["a"].handshakes
    assert len(first.when) == 2
    assert (first.status, first.content_type) == (200, "text/plain; charset=utf-8")
    assert second.status == 204
    assert second.when[0].evaluate(VIEW) is True
    [only] = loaded.sources["b"].handshakes
    assert only.body.text(VIEW) == "7!"


def test_egress(load: Load) -> None:
    """Link-local addresses are always denied; what is written comes on top."""
    rules = load(SOURCE).egress
    assert [str(network) for network in rules.deny] == [
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
    ]
    assert (rules.allow, rules.proxy) == ((), None)
    rules = load(SOURCE + "egress: {deny: 10.0.0.0/8, allow: [10.1.0.0/16], proxy: environment}\n").egress
    assert [str(network) for network in rules.deny][4:] == ["10.0.0.0/8"]
    assert [str(network) for network in rules.allow] == ["10.1.0.0/16"]
    assert rules.proxy == "environment"


def test_alerts(load: Load) -> None:
    """An alert is about everything and lags after ten minutes, unless written."""
    loaded = load(f"{SOURCE}{DESTINATION}alerts: [{{to: d}}, {{about: [dead, lagging], to: [d], lag: 1h}}]\n")
    first, second = loaded.alerts
    assert first.about == set(ABOUT)
    assert (first.to, first.lag) == (("d",), 600)
    assert second.about == {"dead", "lagging"}
    assert second.lag == 3600


def test_alerts_of_a_folder(tmp_path: Path) -> None:
    """Alerts of all files count, as routes do."""
    (tmp_path / "a.yaml").write_text(SOURCE + "alerts: [{to: d}]\n")
    (tmp_path / "b.yaml").write_text(DESTINATION + "alerts: [{about: dead, to: d}]\n")
    assert len(config.load(tmp_path, {}).alerts) == 2


def test_subject(load: Load) -> None:
    """A route to mailboxes may write the subject, with or without the text."""
    loaded = load(
        f"""{SOURCE}destinations: {{m: {{email: {{to: a@b.c, from: a@b.c, smtp: 'smtp://localhost'}}}}}}
routes: [{{source: a, to: m, transform: {{subject: "No. {{{{ body.id }}}}"}}}}]
"""
    )
    transform = loaded.routes["a"][0].transform
    assert transform is not None
    assert transform.subject is not None
    assert transform.subject.text(VIEW) == "No. 7"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("source: {a: {verify: none}}", '1:1: source: unknown key; did you mean "sources"?'),
        ("Sources: {a: {verify: none}}", '1:1: Sources: unknown key; did you mean "sources"?'),
    ],
)
def test_a_misspelt_section(mistakes: Mistakes, line: str, expected: str) -> None:
    """What stands in a misspelt section is known all the same: no route leads nowhere."""
    assert mistakes(f"{line}\n{DESTINATION}routes: [{{source: a, to: d}}]\n") == [expected]


def test_a_misspelt_section_is_read(mistakes: Mistakes) -> None:
    """The mistakes inside it are in the same report."""
    found = mistakes(f"{SOURCE}destination: {{d: {{url: 'htp://d/'}}}}\nroutes: [{{source: a, to: e}}]\n")
    assert [line.split(": ")[0] for line in found] == ["2:1", "2:24", "3:26"]


def test_a_section_written_twice(mistakes: Mistakes) -> None:
    """Beside the section itself, another that looks like it is an unknown key and nothing more."""
    assert len(mistakes(f"{SOURCE}source: {{b: 5}}\n")) == 1


def test_fingerprint(load: Load, tmp_path: Path) -> None:
    """A secret's new value changes the fingerprint, and not the digest; neither is shown."""
    (tmp_path / "token").write_text("one\n")
    text = "sources: {a: {verify: {scheme: bearer, secrets: ['${file:token}', '${B}']}}}\n"
    first = load(text, {"B": "x"})
    assert load(text, {"B": "x"}).fingerprint == first.fingerprint
    other = load(text, {"B": "y"})
    assert (other.digest, other.fingerprint == first.fingerprint) == (first.digest, False)
    (tmp_path / "token").write_text("two\n")
    assert load(text, {"B": "x"}).fingerprint != first.fingerprint
    assert first.fingerprint not in repr(first)


def test_files(load: Load, tmp_path: Path) -> None:
    """Every file that was read is named, for whoever watches them."""
    (tmp_path / "token").write_text("one\n")
    loaded = load("sources: {a: {verify: {scheme: bearer, secrets: ['${file:token}', '${file:token}']}}}\n")
    assert loaded.files == (tmp_path / "relay.yaml", tmp_path / "token")


def test_resolved_masks_every_secret(load: Load) -> None:
    """No secret that is written out in the file is shown, wherever it may stand."""
    loaded = load(
        """\
        sources: {a: {verify: {scheme: github, secrets: "${X}sekrit"}}}
        destinations:
          a: {url: "https://d/", auth: {type: bearer, token: sekrit}}
          b: {url: "https://d/", auth: {type: basic, username: user, password: "${X:-sekrit}"}}
          c: {url: "https://d/", auth: {type: api-key, header: X, value: sekrit}}
          d:
            url: "https://d/"
            auth: {type: oauth2, token_url: "https://id/", client_id: me, client_secret: sekrit}
            sign: {scheme: hmac, header: h, secrets: [sekrit]}
          e: {email: {to: a@b.c, from: a@b.c, smtp: "smtp://user:sekrit@localhost:25"}}
          f: {celery: {broker: "redis://:sekrit@r:6379/0", task: t}}
        routes: [{source: a, to: a, transform: {headers: {X-Api-Key: sekrit, X-K: "${X:-sekrit}"}}}]
        egress: {proxy: "http://user:sekrit@proxy:3128"}
        alerts: [{to: e}]
        """,
        {"X": "sekrit"},
    )
    text = config.resolved(loaded.path, {"X": "sekrit"})
    shown = yaml.safe_load(text)
    assert "sekrit" not in text
    assert shown["destinations"]["b"]["auth"]["password"].startswith("${X:-*")
    assert shown["destinations"]["e"]["email"]["smtp"].startswith("smtp://user:**")
    assert shown["destinations"]["e"]["email"]["smtp"].endswith("@localhost:25")
    assert shown["alerts"] == [{"to": "e"}]


def test_unset_variables_in_every_new_place(load: Load) -> None:
    """With `allow_unset`, a file without any of its variables can be checked."""
    text = """\
        sources:
          a: {verify: none, rate: "${V}", silent_after: "${V}",
              handshake: [{when: "${V}", respond: {status: "${V}", content_type: "${V}", body: "${V}"}}]}
        destinations:
          b: {url: "https://${V}/{{ ${V} }}", query: "${V}", limits: {rate: "${V}"}, breaker: "${V}",
              order: "${V}", max_backlog: "${V}", retry: {schedule: ["${V}"], pause_on: "${V}"}, success: 204,
              auth: {type: bearer, token: "${V}"}, sign: {scheme: standard-webhooks, secrets: "${V}"},
              tls: {ca: "${V}", cert: "${V}", key: none.pem}}
          c: {url: "${V}", order: {key: "${V}", on_dead: "${V}"},
              breaker: {failures: "${V}", cooldown: "${V}"},
              auth: {type: basic, username: "${V}", password: "${V}"},
              sign: {scheme: hmac, secrets: "${V}", header: "${V}", algorithm: "${V}", encoding: "${V}",
                     signed: "${V}"}}
          d: {url: "${V}", auth: {type: oauth2, token_url: "${V}", client_id: "${V}", client_secret: "${V}"},
              sign: {scheme: hmac, secrets: "${V}", header: a, signed: "${V}", timestamp_header: b}}
          h: {url: "${V}", sign: {scheme: hmac, secrets: "${V}", header: a, signed: "${V}",
                                  timestamp_header: "${V}", id_header: c}}
          e: {email: {to: "${V}", from: "${V}", smtp: "${V}", starttls: "${V}"}}
          f: {celery: {broker: "${V}", task: "${V}", queue: "${V}", encoding: "${V}"}}
        routes: [{source: a, to: e, order: "${V}", transform: {subject: "{{ ${V} }}"}}]
        egress: {deny: "${V}", allow: "${V}", proxy: "${V}"}
        alerts: [{about: "${V}", to: "${V}"}]
        """
    load(text, allow_unset=True)
    with pytest.raises(ConfigError) as raised:
        load(text)
    assert all("is not set" in line for line in str(raised.value).splitlines() if "none.pem" not in line)
