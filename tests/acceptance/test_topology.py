"""The topology of compose.yaml from processes: a balancer before two nodes on one PostgreSQL."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import Receiver, RelayProcess, eventually, free_port, request, start_together
from tests.support.databases import Databases
from tests.support.ending import end
from tests.support.length import Length
from tests.support.load import Load, lost, out_of_order

StartRelay = Callable[..., RelayProcess]

TOP = Path(__file__).parents[2]
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((TOP / "compose.yaml").read_text())
    return document


def _balancer_file() -> Path:
    """The balancer's configuration, as compose.yaml mounts it."""
    (mount,) = _compose()["services"]["balancer"]["volumes"]
    return TOP / str(mount).split(":")[0]


def _replaced(pattern: str, by: str, text: str) -> str:
    changed, number = re.subn(pattern, by, text)
    assert number == 1, f"{pattern} stands {number} times in the balancer's configuration"
    return changed


@contextmanager
def _balancer(folder: Path, nodes: Sequence[RelayProcess]) -> Iterator[str]:
    """The balancer before these nodes, by the file of compose.yaml with its addresses replaced; its URL."""
    port = free_port()
    text = _replaced(r"bind :8080", f"bind 127.0.0.1:{port}", _balancer_file().read_text())
    servers = [f"    server node{at} 127.0.0.1:{node.port}" for at, node in enumerate(nodes)]
    text = _replaced(r"(?m)^ +server-template node .* relay:8080 .*$", "\n".join(servers), text)
    file = folder / "haproxy.cfg"
    file.write_text(text)
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return request("GET", f"{url}/readyz").status == 200
        except OSError:
            return False

    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([str(HAPROXY), "-db", "-f", str(file)], stdout=log, stderr=log)
        try:
            eventually(is_ready, describe=(folder / "haproxy.log").read_text)
            yield url
        finally:
            end(process)


@needs_haproxy
def test_a_node_killed_behind_the_balancer_costs_no_event(
    tmp_path: Path, receiver: Receiver, start_relay: StartRelay, databases: Databases, length: Length
) -> None:
    """Whatever the balancer's senders were told was taken arrives, in order; both nodes took part."""
    config = f"""
sources: {{in: {{verify: none, dedup: {{key: body.name, window: 24h}}}}}}
destinations: {{out: {{url: "{receiver.url}/", order: {{key: body.lane}}}}}}
routes: [{{source: in, to: out}}]
"""
    with databases.one() as url:
        env = {**length.env, "RELAY_GRACE": "1s"}
        nodes = [start_relay(config, start=False, journal=url, env=env) for _ in range(2)]
        start_together(nodes)
        with _balancer(tmp_path, nodes) as balancer, Load([balancer], lanes=6) as load:
            for node in nodes:
                node.wait_log("event.accepted", 20)
            nodes[0].kill9()
            taken = len(load.taken)
            eventually(lambda: len(load.taken) > taken + 100, timeout=30)
            nodes[0].start()
            nodes[0].wait_log("event.accepted", len(nodes[0].log("event.accepted")) + 20, timeout=30)
            nodes[1].signal(signal.SIGTERM)
            time.sleep(1)
        assert {answer.status for answer in load.answers} <= {0, 202, 502, 503, 504}
        # What the killed node held and had not settled waits for its lease to end.
        eventually(lambda: not lost(load.taken, receiver.requests), timeout=60)
        assert out_of_order(receiver.requests) == []
        assert request("GET", f"{nodes[0].url}/readyz").status == 200
        eventually(lambda: nodes[0].cli("ledger", "--json").json()["waiting"] == {}, timeout=30)


@needs_haproxy
def test_the_balancer_says_whether_a_node_is_ready(
    tmp_path: Path, receiver: Receiver, start_relay: StartRelay
) -> None:
    """With none, its own /readyz is 503; nothing but /hooks is passed on."""
    node = start_relay(
        f'{{sources: {{in: {{verify: none}}}}, destinations: {{out: {{url: "{receiver.url}/"}}}},'
        " routes: [{source: in, to: out}]}"
    )
    with _balancer(tmp_path, [node]) as balancer:
        assert request("POST", f"{balancer}/hooks/in", body=b"{}").status == 202
        assert request("GET", f"{balancer}/livez").status == 404
        assert request("GET", f"{balancer}/hooks/../metrics").status == 404
        node.kill9()
        eventually(lambda: request("GET", f"{balancer}/readyz").status == 503)
        assert request("POST", f"{balancer}/hooks/in", body=b"{}").status == 503


def test_nothing_secret_is_written_into_compose() -> None:
    """What is secret comes from the environment, and must be there; the nodes wait for the upgrade."""
    services = _compose()["services"]
    set_here = [
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD$|TOKEN$", name)
    ]
    assert len(set_here) == 3
    assert all(re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value) for value in set_here)
    assert services["relay"]["depends_on"] == {"upgrade": {"condition": "service_completed_successfully"}}
    assert services["relay"]["deploy"]["replicas"] == 2
