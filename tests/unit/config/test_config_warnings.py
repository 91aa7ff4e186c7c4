"""What is valid and most likely not meant is told with its place, without its value, and refuses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.config.conftest import Load, Mistakes

NO_ROUTE = "no route has this source: its events are stored as filtered (`no_route`), and go nowhere"
NO_LEAD = "no route and no alert leads here"
ALONE = "`$NAME` is not replaced by a variable: write ${NAME}"
TWICE = "Relay adds `Bearer` itself: write only the token"


def warnings(load: Load, tmp_path: Path, text: str, **options: object) -> list[str]:
    """The warnings of a file with this text, the file's name taken off."""
    found = load(text, {"T": "Bearer canary", "S": "s", "N": "d"}, **options).warnings
    return [line.replace(f"{tmp_path}/relay.yaml:", "") for line in found]


def test_sources_and_destinations_that_nothing_joins(load: Load, tmp_path: Path) -> None:
    """An alert is a use of a destination; a name from a variable counts."""
    text = """\
        sources:
          used: {verify: none}
          idle: {verify: none}
        destinations:
          d: {url: "http://localhost/"}
          told: {url: "http://localhost/"}
          lost: {url: "http://localhost/"}
        routes: [{source: used, to: "${N}"}]
        alerts: [{to: told}]
        """
    assert warnings(load, tmp_path, text) == [
        f"3:3: sources.idle: {NO_ROUTE}",
        f"7:3: destinations.lost: {NO_LEAD}",
    ]


def test_a_name_that_is_not_known_warns_of_nothing(load: Load, tmp_path: Path) -> None:
    """With `allow_unset`, a route may lead anywhere."""
    text = """\
        sources: {a: {verify: none}, b: {verify: none}}
        destinations: {d: {url: "http://localhost/"}, e: {url: "http://localhost/"}}
        routes: [{source: "${U}", to: "${U}"}]
        """
    assert warnings(load, tmp_path, text, allow_unset=True) == []


@pytest.mark.parametrize(
    ("verify", "auth", "found"),
    [
        ({"scheme": "github", "secrets": "$NAME"}, None, ["sources.a.verify.secrets: " + ALONE]),
        ({"scheme": "github", "secrets": ["x", "$(NAME)"]}, None, ["sources.a.verify.secrets[1]: " + ALONE]),
        ({"scheme": "github", "secrets": "$2y$10$abc"}, None, []),
        ({"scheme": "bearer", "secrets": ["bearer canary"]}, None, ["sources.a.verify.secrets[0]: " + TWICE]),
        ({"scheme": "api-key", "header": "X", "secrets": "Bearer canary"}, None, []),
        ("none", {"type": "bearer", "token": "$TOKEN"}, ["destinations.d.auth.token: " + ALONE]),
        ("none", {"type": "bearer", "token": "Bearer canary"}, ["destinations.d.auth.token: " + TWICE]),
        ("none", {"type": "bearer", "token": "${T}"}, ["destinations.d.auth.token: " + TWICE]),
        ("none", {"type": "bearer", "token": "bearer-canary"}, []),
        ("none", {"type": "basic", "username": "u", "password": "basic canary"}, []),
    ],
)
def test_secrets_that_are_written_otherwise_than_meant(
    verify: object, auth: object, found: list[str], load: Load, tmp_path: Path
) -> None:
    """A variable without braces, and a token with its own `Bearer`."""
    text = json.dumps(
        {
            "sources": {"a": {"verify": verify}},
            "destinations": {"d": {"url": "http://localhost/"} | ({"auth": auth} if auth else {})},
            "routes": [{"source": "a", "to": "d"}],
        }
    )
    told = warnings(load, tmp_path, text)
    assert [line.partition(": ")[2] for line in told] == found
    assert "canary" not in str(told)


def test_a_password_in_a_url_without_braces(load: Load, tmp_path: Path) -> None:
    """A default is told once, however many entries it is merged under."""
    text = """\
        sources: {a: {verify: none}}
        defaults: {destination: {headers: {X-Key: $KEY}}}
        destinations:
          d: {url: "http://localhost/$NOT"}
          e: {email: {to: a@example.com, from: a@example.com, smtp: "smtp://u:$PASSWORD@localhost"}}
          f: {url: "http://localhost/"}
        routes: [{source: a, to: [d, e, f]}]
        """
    assert [line.partition(": ")[2].partition(":")[0] for line in warnings(load, tmp_path, text)] == [
        "destinations.d.headers.X-Key",
        "destinations.e.email.smtp",
    ]


def test_every_missing_key_is_told(mistakes: Mistakes) -> None:
    """One report names them all."""
    text = """\
        sources: {a: {verify: {scheme: basic}}}
        destinations:
          e: {email: {}}
          f: {url: "http://localhost/", auth: {type: oauth2}}
        routes: [{}]
        """
    missing = [line.split(": ")[1] for line in mistakes(text) if "this key is required, and missing" in line]
    assert missing == [
        "sources.a.verify.secrets",
        "sources.a.verify.username",
        "destinations.e.email.from",
        "destinations.e.email.smtp",
        "destinations.e.email.to",
        "destinations.f.auth.client_id",
        "destinations.f.auth.client_secret",
        "destinations.f.auth.token_url",
        "routes[0].source",
        "routes[0].to",
    ]
