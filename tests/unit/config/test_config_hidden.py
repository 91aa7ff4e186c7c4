"""What a variable brought is in no expression's message and no report, and no secret of a URL is shown."""

from __future__ import annotations

import pytest
import yaml

from relay import config
from relay.errors import ExpressionError
from tests.unit.config.conftest import VIEW, Load, Mistakes, http_of

HEAD = "sources: {a: {verify: none}}\n"
ENVIRON = {"C": "canary", "F": "canary_field", "N": "7"}


@pytest.mark.parametrize(
    ("broker", "shown"),
    [
        ("redis://:canary@h:6379/0", "redis://:**********@h:6379/0"),
        ("redis://u:${C}@h/0?password=${C}", "redis://u:${C}@h/0?password=${C}"),
        ("redis://h/0?password=canary&x=${C:-canary}", "redis://h/0?password=**********&x=${C:-**********}"),
        ("redis://h/0?password=canary@canary", "redis://**********"),
        ("redis://u:canary?canary@h/0", "redis://**********"),
        ("redis://u:canary${C}@h/0", "redis://u:**********@h/0"),
        ("redis://canary@h/0", "redis://**********@h/0"),
        ("${B:-redis://:canary@h/0}", "${B:-**********}"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_a_brokers_url_shows_no_secret(broker: str, shown: str, load: Load) -> None:
    """User, password and the whole query may hold one; references stay, and say where it comes from."""
    loaded = load(f'{HEAD}destinations: {{d: {{celery: {{broker: "{broker}", task: t}}}}}}\n', ENVIRON)
    text = config.resolved(loaded.path, ENVIRON)
    assert yaml.safe_load(text)["destinations"]["d"]["celery"]["broker"] == shown
    assert "canary" not in text


def test_the_query_of_a_web_address_shows_what_names_no_secret(load: Load) -> None:
    """Of every key that is the URL of an API; holes stay as they are."""
    query = "a=1&api_key=canary&code=canary&token={{ body.x ? 1:-1 }}&sig=${C}"
    text = f"""
        sources:
          a: {{verify: {{scheme: jwt, jwks_url: "https://h/k?key=canary", issuer: i, audience: x}}}}
        destinations:
          d: {{url: "https://h/?{query}", auth: {{type: oauth2, token_url: "https://h/?b=2&pass=canary",
              client_id: i, client_secret: canary}}}}
        egress: {{proxy: "http://u:canary@proxy:3128"}}
        """
    loaded = load(text, ENVIRON)
    shown = config.resolved(loaded.path, ENVIRON)
    assert "canary" not in shown
    found = yaml.safe_load(shown)["destinations"]["d"]
    hidden = query.replace("canary", "*" * 10)
    assert found["url"] == f"https://h/?{hidden}"
    assert found["auth"]["token_url"] == "https://h/?b=2&pass=**********"


def test_an_expression_shows_the_reference(load: Load) -> None:
    """In its text, in what it says of a failure, and among its inputs."""
    loaded = load(
        HEAD
        + """destinations: {d: {url: "https://h/{{ body['${F}'] }}", order: "body['${F}']"}}
routes:
  - source: a
    to: d
    when: ["body['${F}'] == '${C}'", "body.id == ${N}"]
    transform: {json: {"x": ["{{ body['${F}'] }} ${C}"]}, headers: {X-A: "{{ body['${F}'] }}"}}
""",
        ENVIRON,
    )
    (route,) = loaded.routes["a"]
    first, second = route.when
    assert [one.source for one in route.when] == ["body['${F}'] == '${C}'", "body.id == ${N}"]
    assert second.evaluate(VIEW) is True
    assert dict(first.inputs(VIEW)) == {"body.${F}": None}
    assert route.transform is not None
    destination = loaded.destinations["d"]
    assert destination.order is not None
    assert route.transform.json is not None
    failing = [
        first.evaluate,
        destination.order.lane,
        http_of(destination).url.text,
        route.transform.json.render,
        route.transform.headers[0][1].text,
    ]
    for ask in failing:
        with pytest.raises(ExpressionError, match=r"missing: body\.\$\{F\}"):
            ask(VIEW)


def test_a_long_value_is_masked_before_the_message_is_cut(load: Load) -> None:
    """A part of it would be found no more."""
    order = """destinations: {d: {url: "https://h/", order: "body['${LONG}'].x"}}
routes: [{source: a, to: d}]
"""
    key = load(HEAD + order, ENVIRON | {"LONG": "canary" * 60}).destinations["d"].order
    assert key is not None
    with pytest.raises(ExpressionError) as raised:
        key.lane(VIEW)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        '{scheme: hmac, header: X-S, secrets: "0123456789", signed: "{body}{${F}}"}',
        '{scheme: jwt, jwks_url: "http://${F}"}',
        '{scheme: "${F}"}',
    ],
)
def test_a_report_shows_the_reference(source: str, mistakes: Mistakes) -> None:
    """Also where an option of a scheme is refused by the scheme itself."""
    found = mistakes(f"sources: {{a: {{verify: {source}}}}}", ENVIRON)
    assert found
    assert "canary" not in str(found)


@pytest.mark.parametrize("broker", ["redos://u:canary@h", "redos://h/0?password=canary", "h?canary"])
def test_a_report_shows_no_secret_of_a_url_that_is_written_out(broker: str, mistakes: Mistakes) -> None:
    """Neither its user nor its query."""
    found = mistakes(f'{HEAD}destinations: {{d: {{celery: {{broker: "{broker}", task: t}}}}}}')
    assert found
    assert "canary" not in str(found)
