"""With `allow_unset`, all that can be known without the values of variables is checked as with them."""

from __future__ import annotations

import json

import pytest

from relay.errors import ExpressionError
from relay.signatures import KINDS, Option, OptionType
from tests.unit.config.conftest import VIEW, Load, Mistakes

SAMPLES = {
    OptionType.TEXT: "text",
    OptionType.TEXTS: ["text"],
    OptionType.HEADER: "X-Header",
    OptionType.DURATION: "10s",
}
SECRETED = [kind for kind, info in KINDS.items() if any(_.type is OptionType.SECRETS for _ in info.options)]


def source(**verify: object) -> str:
    """A file with a source that verifies so."""
    return "sources: " + json.dumps({"in": {"verify": verify}})


def needed(option: Option, secret: str) -> object:
    """A value for an option that must be written."""
    return secret if option.type is OptionType.SECRETS else SAMPLES[option.type]


@pytest.mark.parametrize("kind", SECRETED)
def test_a_scheme_is_built_without_its_secrets(kind: str, load: Load, mistakes: Mistakes) -> None:
    """It is this scheme, whatever the form of its keys."""
    for secret in ("${UNSET}", "${UNSET}${UNSET}", "some${UNSET}"):
        options = {one.name: needed(one, secret) for one in KINDS[kind].options if one.required}
        if kind == "jwt":
            options = {"secrets": secret}
        if kind == "api-key":
            options["header"] = "X-Key"
        assert mistakes(source(scheme=kind, **options), allow_unset=True) == []
        loaded = load(source(scheme=kind, **options), allow_unset=True)
        assert loaded.sources["in"].scheme.name == kind


@pytest.mark.parametrize("kind", [kind for kind, info in KINDS.items() if info.options])
def test_any_option_may_come_from_a_variable(kind: str, mistakes: Mistakes) -> None:
    """What it will be nobody knows, so nothing is wrong with it yet."""
    for secret in ("${UNSET}", "x" * 40):
        options = {
            one.name: secret if one.type is OptionType.SECRETS else "${UNSET}"
            for one in KINDS[kind].options
            if one.name not in {"query", "jwks_url"}
        }
        found = mistakes(source(scheme=kind, **options), allow_unset=True)
        assert [line for line in found if "secret 1 of" not in line] == []
    assert mistakes(source(scheme="jwt", jwks_url="${U}", issuer="i", audience="a"), allow_unset=True) == []


@pytest.mark.parametrize(
    ("verify", "mistake"),
    [
        ({"scheme": "hmac", "header": "X-S", "signed": "{timestamp}.{body}"}, "timestamp_header"),
        ({"scheme": "hmac", "header": "X-S", "signed": "{when}.{body}"}, "{when} is unknown"),
        ({"scheme": "hmac", "header": "X-S", "signed": "{id}"}, "{body} is missing"),
        ({"scheme": "hmac", "header": "X-S", "timestamp_header": "X-T"}, "signed has no {timestamp}"),
        ({"scheme": "basic", "username": "a:b"}, "a colon"),
        ({"scheme": "api-key"}, "either header or query"),
        ({"scheme": "jwt", "jwks_url": "https://x.example"}, "either secrets or jwks_url"),
    ],
)
@pytest.mark.parametrize("secret", ["${UNSET}", ["${UNSET}", "good"], "${SET}"])
def test_options_are_checked_beside_a_secret_that_is_not_known(
    verify: dict[str, object], mistake: str, secret: object, mistakes: Mistakes
) -> None:
    """What would be refused once the secret is set is refused without it, in the same words."""
    environ = {"SET": "a secret of some length"}
    (line,) = mistakes(source(**verify, secrets=secret), environ, allow_unset=True)
    assert line.startswith("1:")
    assert mistake in line


def test_a_secret_that_is_known_is_checked_beside_one_that_is_not(mistakes: Mistakes) -> None:
    """It is named by its place among all."""
    (line,) = mistakes(source(scheme="discord", secrets=["${UNSET}", "no hex"]), allow_unset=True)
    assert "secret 2 of scheme discord must be a public key" in line


@pytest.mark.parametrize(
    ("sign", "mistake"),
    [
        ('scheme: hmac, header: X-S, signed: "{timestamp}.{body}"', "timestamp_header"),
        ('scheme: hmac, header: X-S, signed: "{nothing}{body}"', "{nothing} is unknown"),
    ],
)
def test_signing_is_checked_so_too(sign: str, mistake: str, mistakes: Mistakes) -> None:
    """And a secret may be made of several variables."""
    text = "sources: {{a: {{verify: none}}}}\ndestinations: {{d: {{url: 'http://localhost/', sign: {}}}}}"
    for secret in ('"${A}"', '"${A}${B}"'):
        (line,) = mistakes(text.format(f"{{{sign}, secrets: {secret}}}"), allow_unset=True)
        assert mistake in line
        good = text.format(f"{{scheme: standard-webhooks, secrets: {secret}}}")
        assert mistakes(good, allow_unset=True) == []


@pytest.mark.parametrize(
    ("destination", "mistake"),
    [
        ({"url": "https://u:${A}@api.example.com/"}, "no user name or password"),
        ({"url": "https://api.example.com/#${A}"}, "a fragment"),
        ({"url": "https://api.example.com:0/${A}"}, "a port from 1"),
        ({"url": "https://api.example.com/{{ body.id }}/${A}#x"}, "a fragment"),
        ({"email": {"smtp": "smtp://u:${A}@mail.example.com"}}, "the password would go unencrypted"),
        ({"email": {"smtp": "smtp://u:${A}@localhost/x"}}, "ends after its host and port"),
        ({"email": {"smtp": "smtps://u:${A}@localhost", "starttls": True}}, "take `starttls` out"),
        ({"celery": {"broker": "redos://:${A}@localhost", "task": "t"}}, "expected a broker"),
    ],
)
def test_a_url_is_checked_around_what_is_not_known(
    destination: dict[str, object], mistake: str, mistakes: Mistakes
) -> None:
    """Whatever the variable will be, this is refused."""
    if isinstance(destination.get("email"), dict):
        destination = {"email": {"to": "a@example.com", "from": "b@example.com", **destination["email"]}}  # type: ignore[dict-item]
    text = "sources: {a: {verify: none}}\ndestinations: " + json.dumps({"d": destination})
    (line,) = mistakes(text, allow_unset=True)
    assert mistake in line
    (line,) = mistakes(text, {"A": "secret"})
    assert mistake in line


@pytest.mark.parametrize(
    "url",
    [
        "${A}",
        "${A}://api.example.com/",
        "https://${A}",
        "https://api.${A}/x",
        "https://${A}:${B}/",
        "https://10.0.0.${A}:8080/",
        "https://[${A}]/",
        "https://api.example.com/${A}?key=${B}",
        "https://api.example.com/{{ body.${A} }}",
    ],
)
def test_a_url_may_have_any_part_of_it_in_a_variable(url: str, mistakes: Mistakes) -> None:
    """Nothing is wrong with it yet."""
    written = json.dumps({"d": {"url": url}})
    assert mistakes("sources: {a: {verify: none}}\ndestinations: " + written, allow_unset=True) == []


def test_an_expression_that_is_not_known_decides_nothing(load: Load) -> None:
    """It fails and says why, where it would else have matched every event; its route is named."""
    text = """\
        sources: {a: {verify: none}}
        destinations:
          d: {url: "http://localhost/"}
          o: {url: "http://localhost/", order: "body.${U}"}
        routes:
          - {name: known, source: a, to: d, when: "${S}"}
          - {name: filtered, source: a, to: d, when: ["true", "body.id == '${U}'"]}
          - {name: ordered, source: a, to: [d, o]}
          - {name: own, source: a, to: o, order: body.id}
        """
    loaded = load(text, {"S": "true"}, allow_unset=True)
    assert loaded.unknown_routes == ("filtered", "ordered")
    (_, when) = loaded.routes["a"][1].when
    assert when.source == "${…}"
    with pytest.raises(ExpressionError, match="a variable that is not set here"):
        when.evaluate(VIEW)
