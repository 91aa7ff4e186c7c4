"""What a valid file becomes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay import config
from relay.config import Configuration, Respond, Settings, Timeout
from relay.config.load import schema_text
from relay.errors import ConfigError
from relay.model import Request
from tests.unit.config.conftest import VIEW, Load, http_of

jsonschema: Any = importlib.import_module("jsonschema")  # it has no types

ROOT = Path(__file__).parents[3]

FULL = """\
sources:
  github:
    verify: {scheme: github, secrets: "${GITHUB_WEBHOOK_SECRET}"}
    dedup: 24h
  stripe:
    verify: {scheme: stripe, secrets: ["${STRIPE_SECRET}", "${STRIPE_SECRET_OLD:-}"], tolerance: 5m}
    max_body: 512KiB
    dedup: {key: body.id, window: 1d}
  plant:
    path: /plants/{site}/events
    methods: [POST, PUT]
    verify: {scheme: bearer, secrets: "${file:token}"}
    allow_ips: 10.0.0.0/8
    respond: {status: 200, content_type: application/json, body: '{"ok":true}'}
destinations:
  billing:
    url: https://billing.internal/webhooks
    method: POST
    headers: {X-Team: billing}
    timeout: {connect: 3s, total: 15s}
    success: [2xx, 304]
    retry: {first_wait: 1s, factor: 3, max_wait: 10m, jitter: 0.1, max_age: 1d, max_attempts: 9,
            give_up_on: [410]}
    limits: {concurrency: 32}
  chat:
    url: https://chat.example.com/hooks/${CHAT_HOOK}
    timeout: 15s
routes:
  - name: billing-events
    source: stripe
    when: event.type.startsWith("invoice.")
    to: billing
    stop: true
  - source: github
    when: ['event.type == "pull_request.opened"', "has(body.pull_request)"]
    to: [chat, billing]
    transform:
      json: {text: "Opened: {{ body.pull_request.title }}"}
      headers: {X-Repository: "{{ body.repository.full_name }}"}
defaults:
  destination: {limits: {concurrency: 8}, headers: {x-team: none, X-From: relay}}
retention: {delivered: 1d, max_size: null}
"""
ENVIRON = {"GITHUB_WEBHOOK_SECRET": "sekrit-1", "STRIPE_SECRET": "sekrit-2", "CHAT_HOOK": "sekrit-3"}


@pytest.fixture
def full(load: Load, tmp_path: Path) -> Configuration:
    """The file above, loaded."""
    (tmp_path / "token").write_text("sekrit-4\n")
    return load(FULL, ENVIRON)


def test_sources(full: Configuration) -> None:
    """Sources have the values of the file, and the defaults of their scheme."""
    assert list(full.sources) == ["github", "stripe", "plant"]
    github, stripe, plant = full.sources.values()
    assert github.path.template == "/github"
    assert github.scheme.name == "github"
    assert github.max_body == github.scheme.max_body == 25 * 2**20
    assert github.parse == 2**20
    assert github.methods == {"POST"}
    assert github.dedup is not None
    assert github.dedup.key is None
    assert github.dedup.window == 86400
    assert github.respond is None
    assert stripe.max_body == 512 * 1024
    assert stripe.dedup is not None
    assert stripe.dedup.key is not None
    assert plant.path.match("/plants/berlin/events") == {"site": "berlin"}
    assert plant.methods == {"POST", "PUT"}
    assert [str(network) for network in plant.allow_ips] == ["10.0.0.0/8"]
    assert plant.respond == Respond(status=200, content_type="application/json", body=b'{"ok":true}')


def test_secret_from_a_file(full: Configuration) -> None:
    """The line's end in a secret's file is no part of the secret."""
    request = Request(
        method="POST",
        path="/hooks/plants/x/events",
        query=b"",
        headers=((b"authorization", b"Bearer sekrit-4"),),
        body=b"",
        url="",
        remote=None,
        received_at=0.0,
    )
    assert full.sources["plant"].scheme.verify(request, now=0.0).secret_index == 0


def test_destinations(full: Configuration) -> None:
    """Destinations have the values of the file over the defaults, headers whatever their case."""
    billing, chat = full.destinations.values()
    http = http_of(billing)
    assert http.url.text(VIEW) == "https://billing.internal/webhooks"
    assert http.method == "POST"
    assert set(http.headers) == {(b"x-team", b"billing"), (b"x-from", b"relay")}
    assert billing.timeout == Timeout(connect=3, total=15)
    assert http.success(304)
    assert not http.success(302)
    assert billing.retry.max_attempts == 9
    assert billing.retry.give_up_on == {410}
    assert billing.concurrency == 32
    assert http_of(chat).url.text(VIEW) == "https://chat.example.com/hooks/sekrit-3"
    assert http_of(chat).method is None
    assert chat.timeout == Timeout(connect=None, total=15)
    assert chat.concurrency == 8
    assert (chat.retry.first_wait, chat.retry.factor, chat.retry.max_wait) == (5, 2, 3600)
    assert (chat.retry.jitter, chat.retry.max_age, chat.retry.max_attempts) == (0.2, 3 * 86400, None)


def test_routes(full: Configuration) -> None:
    """Routes stand by source, in the order of the file; a source without any has none."""
    assert full.routes["plant"] == ()
    [billing] = full.routes["stripe"]
    assert billing.name == "billing-events"
    assert billing.stop
    assert billing.transform is None
    [github] = full.routes["github"]
    assert github.name == "github-to-chat-billing"
    assert github.to == ("chat", "billing")
    assert len(github.when) == 2
    assert github.transform is not None
    assert [name for name, _ in github.transform.headers] == ["X-Repository"]


def test_retention(full: Configuration) -> None:
    """Retention has its defaults where nothing is written."""
    kept = full.retention
    assert (kept.delivered, kept.filtered, kept.dead, kept.max_size) == (86400, 7 * 86400, 30 * 86400, None)


def test_no_secret_in_repr(full: Configuration) -> None:
    """What came from a variable or a file is in no representation of the configuration."""
    assert "sekrit" not in repr(full)
    for destination in full.destinations.values():
        assert "sekrit" not in repr(destination)


def test_frozen(full: Configuration) -> None:
    """Nothing changes a configuration in force."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        full.sources["github"].max_body = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        full.sources["x"] = full.sources["github"]  # type: ignore[index]


def test_digest_knows_no_secret(load: Load, full: Configuration, tmp_path: Path) -> None:
    """The digest is of what is written: another text changes it, another value does not."""
    assert load(FULL, {**ENVIRON, "CHAT_HOOK": "other"}).digest == full.digest
    assert load(FULL + "# more\n", ENVIRON).digest != full.digest


def test_resolved(full: Configuration) -> None:
    """The merged file shows defaults in place, and of secrets only where they come from."""
    text = config.resolved(full.path, ENVIRON)
    shown = yaml.safe_load(text)
    assert "sekrit" not in text
    assert shown["sources"]["github"]["verify"]["secrets"] == "${GITHUB_WEBHOOK_SECRET}"
    assert shown["destinations"]["chat"]["url"].endswith("${CHAT_HOOK}")
    assert shown["destinations"]["chat"]["limits"] == {"concurrency": 8}
    assert shown["routes"][1]["name"] == "github-to-chat-billing"


def test_resolved_masks_what_is_written_out(load: Load) -> None:
    """A secret that stands in the file itself, or as a default, is masked."""
    loaded = load(
        """\
        sources: {a: {verify: {scheme: github, secrets: [sekrit, "${X:-sekrit}", "a${Y}"]}}}
        destinations: {d: {url: "http://d/", headers: {Authorization: sekrit, X-Team: a}}}
        """,
        {"Y": "sekrit"},
    )
    text = config.resolved(loaded.path, {"Y": "sekrit"})
    assert "sekrit" not in text
    assert "${X:-*" in text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${A}", "1"),
        ("a${A}b${B}", "a1b2"),
        ("${NONE:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-}", ""),
        ("$${A}", "${A}"),
        ("$A $ {A}", "$A $ {A}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_variables(load: Load, written: str, value: str) -> None:
    """References are filled in once; a doubled dollar sign and all else is literal."""
    environ = {"A": "1", "B": "2", "EMPTY": "", "NESTED": "${A}"}
    loaded = load(f"sources: {{a: {{verify: none, respond: {{body: '{written}'}}}}}}\n", environ)
    respond = loaded.sources["a"].respond
    assert respond is not None
    assert respond.body.decode() == value


def test_a_dollar_before_a_hole(load: Load) -> None:
    """In `${{ … }}` the dollar sign is an amount's."""
    loaded = load(
        """\
        sources: {a: {verify: none}}
        destinations: {d: {url: "http://d/"}}
        routes: [{source: a, to: d, transform: {text: "Paid ${{ body.amount }}"}}]
        """
    )
    assert loaded.routes["a"][0].transform is not None


def test_values_cannot_add_keys(load: Load) -> None:
    """A value is filled in after the parse, so that YAML in it is text."""
    loaded = load("sources: {a: {verify: none, respond: {body: '${A}'}}}\n", {"A": "x\n  verify: y"})
    respond = loaded.sources["a"].respond
    assert respond is not None
    assert respond.body == b"x\n  verify: y"


def test_numbers_from_variables(load: Load) -> None:
    """A number or a truth value may come from a variable."""
    loaded = load(
        """\
        sources: {a: {verify: none}}
        destinations: {d: {url: "http://d/", limits: {concurrency: "${N}"}, retry: {jitter: "${J}"}}}
        routes: [{source: a, to: d, stop: "${S}"}]
        """,
        {"N": "7", "J": "0.5", "S": "true"},
    )
    assert loaded.destinations["d"].concurrency == 7
    assert loaded.destinations["d"].retry.jitter == 0.5
    assert loaded.routes["a"][0].stop


def test_unreadable_secret_files(load: Load, tmp_path: Path) -> None:
    """A file that is not there or is no text is named, with the reason."""
    (tmp_path / "binary").write_bytes(b"\xff")
    text = "sources: {a: {verify: {scheme: bearer, secrets: ['${file:none}', '${file:binary}']}}}\n"
    with pytest.raises(ConfigError) as raised:
        load(text)
    lines = str(raised.value).splitlines()
    assert 'the file "none" cannot be read: No such file or directory' in lines[0]
    assert 'the file "binary" is not UTF-8 text' in lines[1]
    assert "binary" in str(raised.value)


def test_a_secret_is_read_without_waiting(load: Load, tmp_path: Path) -> None:
    """A pipe that nobody writes to is refused, since waiting for it would never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be read: no regular file"):
        load("sources: {a: {verify: {scheme: bearer, secrets: '${file:pipe}'}}}\n")


def test_empty_secrets_are_dropped(load: Load) -> None:
    """An unused second secret leaves one."""
    text = "sources: {a: {verify: {scheme: github, secrets: ['${A}', '${OLD:-}']}}}\n"
    assert load(text, {"A": "x"}).sources["a"].scheme.name == "github"


def test_starter() -> None:
    """The starter is the repository's own file, loads in an empty environment, and names its schema."""
    path = ROOT / "config" / "relay.yaml"
    assert path.read_text(encoding="utf-8") == config.starter()
    assert config.starter().startswith("# yaml-language-server: $schema=relay.schema.json\n")
    loaded = config.load(path, {})
    assert loaded.routes["demo"][0].to == ("local",)


def test_starter_comments_are_valid(load: Load) -> None:
    """What the starter offers in comments works once the comment signs are taken off."""
    lines = config.starter().splitlines()[5:]
    text = "\n".join(line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines)
    loaded = load(text, ENVIRON, allow_unset=True)
    assert set(loaded.sources) == {"demo", "github", "stripe", "plant"}
    assert set(loaded.destinations) == {"local", "billing", "chat", "ops-mail", "reports"}
    assert loaded.alerts[0].to == ("chat", "ops-mail")
    assert loaded.destinations["local"].concurrency == 16


def test_json_schema_file() -> None:
    """The schema that editors read is the one that the models make."""
    path = ROOT / "config" / "relay.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text()


def test_json_schema_agrees() -> None:
    """The JSON Schema is valid, takes what the loader takes, and every key has a description."""
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(yaml.safe_load(FULL))) == []
    assert list(validator.iter_errors(yaml.safe_load(config.starter()))) == []
    wrong = yaml.safe_load(FULL)
    wrong["destinations"]["chat"]["timeot"] = "5s"
    assert list(validator.iter_errors(wrong))
    for definition in schema["$defs"].values():
        for name, key in definition["properties"].items():
            assert key.get("description"), f"{definition['title']}.{name}"
    json.dumps(schema)


def test_import_is_light() -> None:
    """Reading a configuration needs no HTTP client, database or terminal library."""
    # The CEL package brings rich for a command line of its own.
    code = (
        "import sys, cel; before = set(sys.modules); import relay.config; after = set(sys.modules) - before;"
    )
    code += "print(*{'aiohttp', 'httpx', 'sqlalchemy', 'rich', 'typer', 'uvicorn'} & after)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_settings_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables, the settings are those of the documentation."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RELAY_{name.upper()}", raising=False)
    settings = Settings()
    assert settings.model_dump() == {
        "config": Path("config/relay.yaml"),
        "journal": "sqlite:///relay.db",
        "host": "0.0.0.0",
        "port": 8080,
        "admin_host": "127.0.0.1",
        "admin_port": 8081,
        "admin_token": None,
        "metrics_port": None,
        "public_url": None,
        "trusted_proxies": (),
        "log_format": "json",
        "log_level": "info",
        "workers": 1,
        "grace": 25.0,
        "max_backlog": 0,
        "time_scale": 1.0,
    }


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are read as text, flags win over them."""
    monkeypatch.setenv("RELAY_PORT", "9000")
    monkeypatch.setenv("RELAY_GRACE", "2m")
    monkeypatch.setenv("RELAY_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("RELAY_PUBLIC_URL", "https://hooks.example.com/")
    settings = Settings(port=9001)
    assert settings.port == 9001
    assert settings.grace == 120
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.public_url == "https://hooks.example.com"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", 'RELAY_PORT: expected a whole number, found "http"'),
        ("PORT", "70000", "RELAY_PORT: expected at most 65535"),
        ("ADMIN_TOKEN", "two words", "RELAY_ADMIN_TOKEN: expected letters, digits and marks without blanks"),
        ("METRICS_PORT", "-1", "RELAY_METRICS_PORT: expected at least 0"),
        ("WORKERS", "0", "RELAY_WORKERS: expected at least 1"),
        ("WORKERS", "1000", "RELAY_WORKERS: expected at most 256"),
        ("LOG_FORMAT", "xml", "RELAY_LOG_FORMAT: expected 'json' or 'console'"),
        ("GRACE", "soon", "RELAY_GRACE: expected a duration"),
        ("GRACE", "inf", "RELAY_GRACE: "),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "RELAY_TRUSTED_PROXIES: expected a network"),
        ("LOG_LEVEL", "warn", "RELAY_LOG_LEVEL: expected 'debug', 'info', 'warning' or 'error'"),
        ("PUBLIC_URL", "hooks.example.com", "RELAY_PUBLIC_URL: expected a URL"),
        ("MAX_BACKLOG", "-1", "RELAY_MAX_BACKLOG: expected at least 0"),
    ],
)
def test_settings_mistakes(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str) -> None:
    """A wrong variable is named, in one line."""
    monkeypatch.setenv(f"RELAY_{name}", value)
    with pytest.raises(ConfigError) as raised:
        Settings()
    assert str(raised.value).startswith(expected)
    assert "\n" not in str(raised.value)


def test_settings_say_what_may_have_been_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's address in a network's place comes with the network."""
    monkeypatch.setenv("RELAY_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(ConfigError, match=r'; did you mean "10.0.0.0/8"\?$'):
        Settings()


def test_settings_name_the_flag() -> None:
    """A wrong flag is named as a flag."""
    with pytest.raises(ConfigError, match=r"^--admin-port: "):
        Settings(admin_port="-1")


def test_settings_hide_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators' token shows neither in the settings' own text nor in a report on it."""
    monkeypatch.setenv("RELAY_ADMIN_TOKEN", "hunter2hunter2")
    assert "hunter2" not in repr(Settings())
    monkeypatch.setenv("RELAY_ADMIN_TOKEN", "hunter2 hunter2")
    with pytest.raises(ConfigError) as raised:
        Settings()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "relay.internal"])
def test_operators_listen_off_loopback_only_with_a_token(host: str) -> None:
    """What other machines reach needs a token, and the report says how to have one."""
    with pytest.raises(ConfigError, match=r"^RELAY_ADMIN_HOST: .*set RELAY_ADMIN_TOKEN .*127\.0\.0\.1"):
        Settings(admin_host=host).require_login()
    Settings(admin_host=host, admin_token="a-token").require_login()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_operators_listen_on_loopback_without_a_token(host: str) -> None:
    """Who is on the machine needs none."""
    Settings(admin_host=host).require_login()
