"""How often the service parses a body: once where something looks into it, else never."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from relay import config
from relay.config import Settings
from relay.expressions.parse import form_value, json_value
from relay.model import Request
from relay.service.service import Service
from relay.telemetry import Telemetry
from tests.support.journals import prepare

LOOKS = """
sources: {in: {verify: none, dedup: {key: body.id, window: 1h}}}
destinations:
  a: {url: "http://127.0.0.1:9/", order: {key: body.k}}
  b: {url: "http://127.0.0.1:9/", order: {key: body.id}}
routes:
  - {name: one, source: in, when: [body.n == 1, 'body.k == "k"'], to: a}
  - {name: two, source: in, when: has(body.id), to: b}
  - {name: three, source: in, when: body.n == 2, to: a}
"""
BLIND = """
sources: {in: {verify: none}}
destinations: {a: {url: "http://127.0.0.1:9/"}}
routes: [{source: in, when: 'method == "POST"', to: a}]
"""


async def parses(folder: Path, text: str) -> int:
    """How often a body was parsed while the service accepted one event by this file."""
    (folder / "relay.yaml").write_text(text)
    with (
        (folder / "log").open("w") as log,
        Telemetry.configure(stream=log) as telemetry,
    ):
        service = Service(
            settings=Settings(config=folder / "relay.yaml", journal=prepare(folder / "relay.db"), grace=0.0),
            configuration=config.load(folder / "relay.yaml", {}),
            telemetry=telemetry,
        )
        await service.start()
        count = 0

        def watch(frame: FrameType, event: str, _: object) -> None:
            nonlocal count
            count += event == "call" and frame.f_code in {json_value.__code__, form_value.__code__}

        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            await service.ingest.accept(
                service.configuration.sources["in"], {}, a_request(), wall=time.time()
            )
        finally:
            sys.setprofile(before)
        await service.drain()
        await service.close()
    return count


def a_request() -> Request:
    """One posted event."""
    return Request(
        method="POST",
        path="/in",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=b'{"id": "x", "k": "k", "n": 1}',
        url="",
        remote=None,
        received_at=time.time(),
    )


@pytest.mark.parametrize(("text", "count"), [(LOOKS, 1), (BLIND, 0)], ids=["looks", "blind"])
def test_an_event_is_parsed_at_most_once_on_its_way_in(tmp_path: Path, text: str, count: int) -> None:
    """Three routes, two order keys and a dedup key share one parse; what looks elsewhere needs none."""
    assert asyncio.run(parses(tmp_path, text)) == count
