"""Every example in config/examples as the real service runs it, once its secrets are there."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support import RelayProcess
from tests.support.certificates import Authority

StartRelay = Callable[..., RelayProcess]

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.yaml"))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _with_secrets(text: str, folder: Path) -> str:
    """The text with its secret files in `folder`."""
    text = text.replace("/run/secrets/", f"{folder}/")
    for path in re.findall(r"\$\{file:([^}]+)\}", text):
        Path(path).write_text(SECRET)
    return text


def _with_certificates(text: str, folder: Path) -> str:
    """The text with an authority and a client certificate of its own in place of those it names."""
    if "certificates/" not in text:
        return text
    authority = Authority(folder)
    client = authority.issue("relay.example")
    return (
        text.replace("certificates/internal-ca.pem", str(authority.cert))
        .replace("certificates/relay.pem", str(client.cert))
        .replace("certificates/relay.key", str(client.key))
    )


def test_the_examples_run(start_relay: StartRelay, tmp_path: Path) -> None:
    """A service takes one after the other, is ready, takes no stranger's event unchecked, and ends well."""
    texts = [_with_certificates(_with_secrets(one.read_text(), tmp_path), tmp_path) for one in EXAMPLES]
    names = re.findall(r"\$\{([A-Z_]+)[:}]", "".join(texts))
    environ = dict.fromkeys(names, SECRET) | {"CELERY_BROKER": f"filesystem://{tmp_path}"}
    relay = start_relay(texts[0], env=environ)
    for number, (example, text) in enumerate(zip(EXAMPLES, texts, strict=True), 1):
        if number > 1:
            relay.config.write_text(text)
            relay.signal(signal.SIGHUP)
        *_, loaded = relay.wait_log("config.loaded", number)
        assert loaded["routes"] > 0, example.stem
        assert relay.get("/readyz").status == 200, example.stem
        assert relay.post("nobody").status == 404, example.stem
    assert relay.log("config.rejected") == []
    assert relay.term() == 0
