"""Every example in config/examples as the real service runs it, once its secrets are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import RelayProcess
from tests.support.certificates import Authority

StartRelay = Callable[..., RelayProcess]

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.yaml"))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _with_secrets(text: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The text with its secret files in `folder`, and an environment for its variables."""
    text = text.replace("/run/secrets/", f"{folder}/")
    for path in re.findall(r"\$\{file:([^}]+)\}", text):
        Path(path).write_text(SECRET)
    names = re.findall(r"\$\{([A-Z_]+)[:}]", text)
    return text, dict.fromkeys(names, SECRET) | {"CELERY_BROKER": f"filesystem://{folder}"}


def _with_certificates(text: str, folder: Path) -> str:
    """The text with an authority and a client certificate of its own in place of those it names."""
    authority = Authority(folder)
    client = authority.issue("relay.example")
    return (
        text.replace("certificates/internal-ca.pem", str(authority.cert))
        .replace("certificates/relay.pem", str(client.cert))
        .replace("certificates/relay.key", str(client.key))
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, start_relay: StartRelay, tmp_path: Path) -> None:
    """The service starts on it, is ready, takes no stranger's event unchecked, and ends in good order."""
    text, environ = _with_secrets(example.read_text(), tmp_path)
    if "certificates/" in text:
        text = _with_certificates(text, tmp_path)
    relay = start_relay(text, env=environ)
    assert relay.get("/readyz").status == 200
    (loaded,) = relay.log("config.loaded")
    assert loaded["routes"] > 0
    assert relay.post("nobody").status == 404
    assert relay.term() == 0
