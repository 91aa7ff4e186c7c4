"""The demo's parts: its file is valid, its events are signed as providers sign, its receiver fails first."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from relay import config
from relay.demo import receiver
from relay.demo.samples import CHALLENGE, CONFIG, HANDSHAKE, SAMPLES, Sample, new_secrets
from relay.model import Request

NOW = 1_800_000_000.0


@pytest.fixture
def configuration(tmp_path: Path) -> config.Configuration:
    """The demo's file with fresh secrets."""
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIG)
    return config.load(path, new_secrets() | {"DEMO_RECEIVER": "http://127.0.0.1:9"})


def posted(source: config.Source, sample: Sample) -> Request:
    """The request that the demo would make of a sample."""
    url = f"http://127.0.0.1/hooks/{sample.source}"
    headers = source.scheme.sign(
        sample.body, now=NOW, event_id="demo-1", url=url, event_type=sample.event_type
    )
    return Request(
        method="POST",
        path=f"/{sample.source}",
        query=b"",
        headers=headers,
        body=sample.body,
        url=url,
        remote=None,
        received_at=NOW,
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.title)
def test_each_sample_verifies_and_is_what_it_says(
    configuration: config.Configuration, sample: Sample
) -> None:
    """The source accepts the signature and finds the type under which the demo announces it."""
    source = configuration.sources[sample.source]
    request = posted(source, sample)
    assert source.scheme.verify(request, now=NOW).secret_index == 0
    assert source.scheme.identify(request, lambda: json.loads(sample.body)).type == sample.title


def test_the_handshake_is_answered_with_its_challenge(configuration: config.Configuration) -> None:
    """Slack's url_verification is no event."""
    source = configuration.sources["slack"]
    answer = source.scheme.answer(posted(source, HANDSHAKE), lambda: json.loads(HANDSHAKE.body))
    assert answer is not None
    assert CHALLENGE.encode() in answer.body


def test_secrets_are_fresh_each_time() -> None:
    """No two demos share a secret."""
    assert not set(new_secrets().values()) & set(new_secrets().values())


def test_the_receiver_refuses_only_the_first_attempts_of_each_event_on_each_path() -> None:
    """503 until the failures are used up, then 200; another event or path starts anew."""
    with receiver.running(failures=1) as base, httpx.Client(trust_env=False) as client:

        def status(path: str, event: str) -> int:
            headers = {"relay-event-id": event}
            return client.post(f"{base}{path}", content=b"x", headers=headers).status_code

        assert [status("/events", "a"), status("/events", "a"), status("/events", "a")] == [503, 200, 200]
        assert [status("/chat", "a"), status("/events", "b")] == [503, 503]
