"""No value of a variable is shown: not in the log, not by any command, not in a report of mistakes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay.cli.app import app
from tests.support import RelayProcess, eventually
from tests.support.http import free_port

StartRelay = Callable[..., RelayProcess]

CANARY = "canary-in-the-mine"
FILE = """
sources:
  in:
    verify: {scheme: api-key, header: X-Key, secrets: "${C}"}
    dedup: {key: 'body.id + "${C}"', window: 1h}
    handshake: {when: 'query.q == "${C}"', respond: {body: "${C} {{ body['${C}'] }}"}}
  token: {verify: {scheme: basic, username: "${C}", secrets: "${C}"}}
  signed: {verify: {scheme: hmac, header: X-S, prefix: "${C}", secrets: "${C}"}}
destinations:
  api:
    url: "http://127.0.0.1:PORT/${C}/{{ body.id }}?key=${C}"
    headers: {X-Plain: "${C}", Authorization: "${C}"}
    sign: {scheme: hmac, header: X-S, secrets: "${C}"}
    retry: {first_wait: 1h}
  oauth:
    url: "http://127.0.0.1:PORT/"
    auth: {type: oauth2, token_url: "http://127.0.0.1:PORT/${C}?t=${C}", client_id: i, client_secret: "${C}"}
  mail: {email: {to: a@example.com, from: b@example.com, smtp: "smtp://u:${C}@127.0.0.1:PORT"}}
  queue: {celery: {broker: "redis://:${C}@127.0.0.1:PORT/0?password=${C}", task: "${C}"}}
  holed: {url: "http://127.0.0.1:PORT/{{ body['${C}'] }}"}
routes:
  - {name: fails, source: in, when: "body['${C}'] == 1", to: api}
  - {name: gives, source: in, when: '"${C}"', to: api}
  - {name: differs, source: in, when: ['body.id == "${C}"'], to: api}
  - {name: sent, source: in, to: [api, oauth, mail, queue, holed]}
  - {name: made, source: in, to: api, transform: {json: {"a": "${C}", "b": "{{ body['${C}'] }}"}}}
alerts: [{to: api}]
"""


@pytest.fixture
def relay(start_relay: StartRelay, tmp_path: Path) -> RelayProcess:
    """A service whose file has a variable in every place, and whose destinations are all away."""
    return start_relay(FILE.replace("PORT", str(free_port())), env={"C": CANARY})


def run(relay: RelayProcess, *command: str, code: int | None = None, **env: str) -> str:
    """All that a command prints."""
    result = CliRunner().invoke(app, list(command), env={**relay.environ, **env})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert code in {None, result.exit_code}, result.output
    return result.output


def test_no_value_of_a_variable_is_shown(relay: RelayProcess) -> None:
    """Wherever the file has it, and wherever it fails."""
    answer = relay.post("in", json.dumps({"id": "x1"}), headers=[("X-Key", CANARY)])
    event = answer.json()["id"]
    relay.post("token", "{}", headers=[("Authorization", f"Basic {CANARY}")])
    relay.post(f"in?q={CANARY}", "{}")

    def tried() -> bool:
        found = json.loads(run(relay, "deliveries", "--source", "in", "--json"))["deliveries"]
        return len(found) == 6 and all(one["attempts"] or one["state"] == "dead" for one in found)

    eventually(tried, timeout=60)
    shown = [run(relay, "explain", event), run(relay, "explain", event, "--json")]
    assert "${C}" in shown[0]
    shown += [run(relay, "show", event), run(relay, "show", event, "--json")]
    shown += [run(relay, *command) for command in (("status", "--json"), ("deliveries",), ("doctor",))]
    shown += [
        run(relay, "check", "--resolved", code=0),
        run(relay, "check", code=0),
        run(relay, "reload", code=0),
    ]
    good = relay.config.read_text()
    relay.config.write_text(
        good.replace("api-key, header: X-Key", "'${C}'").replace("task:", "tsk:") + "x: ${C}\n"
    )
    shown += [run(relay, "check", code=2), run(relay, "reload", code=2)]
    relay.signal(signal.SIGHUP)
    relay.wait_log("config.rejected")
    for journal in ("canary-in-the-mine", f"postgresql://u:{CANARY}@127.0.0.1:1/x?password={CANARY}"):
        shown.append(run(relay, "status", code=None, RELAY_JOURNAL=journal))
    assert [text for text in [*shown, relay.output()] if CANARY in text] == []
