"""The disk of an SQLite journal is full at once, takes nothing any more, or stalls."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def _config(receiver: Receiver) -> str:
    return f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _injected(relay: RelayProcess, calls: str, fault: str) -> Iterator[None]:
    """Have these system calls on the journal's files meet a fault, in the running service."""
    files = [argument for suffix in ("", "-wal") for argument in ("-P", f"{relay.folder}/relay.db{suffix}")]
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    with subprocess.Popen(
        ["strace", "-f", "-p", str(relay.pid), "-o", str(relay.folder / "trace"), *files, *inject],
        stderr=subprocess.PIPE,
    ) as strace:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)


class Sender:
    """Posts one event after the other, and counts those that were taken."""

    def __init__(self, relay: RelayProcess) -> None:
        self._relay = relay
        self.taken = 0

    def post(self) -> int:
        """Post one; what was answered."""
        status = self._relay.post("in").status
        self.taken += status == 202
        return status

    def hears_503(self, cause: str) -> None:
        """Operators hear why, once, and a balancer that this node is not ready."""
        eventually(lambda: self.post() == 503, timeout=30)
        (told,) = self._relay.wait_log("journal.unavailable")
        assert told["level"] == "error"
        assert cause in told["error"]
        assert self._relay.get("/readyz").status == 503

    def goes_on(self, receiver: Receiver) -> None:
        """Events are taken again without anybody's help, and none is missing."""
        self._relay.wait_log("journal.recovered", timeout=30)
        eventually(lambda: self.post() == 202, timeout=30)
        assert len(receiver.wait(self.taken, timeout=30)) == self.taken
        eventually(lambda: self._relay.cli("ledger", "--json").json()["waiting"] == {})
        assert self._relay.cli("ledger", "--json").json()["balanced"]
        assert self._relay.log("internal.error") == []


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * (1 << 20))


def test_a_disk_that_is_full_at_once(receiver: Receiver, start_relay: StartRelay, small_disk: Path) -> None:
    """Nothing of the reserve is left: not even an outcome can be written, until there is room."""
    relay = start_relay(_config(receiver), journal=f"sqlite:///{small_disk / 'relay.db'}")
    sender = Sender(relay)
    assert sender.post() == 202
    filler = small_disk / "filler"
    _fill(filler)
    sender.hears_503("disk")
    filler.unlink()
    sender.goes_on(receiver)


@needs_strace
def test_a_disk_that_became_read_only(receiver: Receiver, start_relay: StartRelay) -> None:
    """As after an error of the file system, which the kernel then writes to no more."""
    relay = start_relay(_config(receiver))
    sender = Sender(relay)
    assert sender.post() == 202
    receiver.wait(1)
    with _injected(relay, "pwrite64,fdatasync,fsync", "error=EROFS"):
        sender.hears_503("written")
    sender.goes_on(receiver)


@needs_strace
def test_a_disk_that_stalls(receiver: Receiver, start_relay: StartRelay) -> None:
    """One fsync does not come back, and no error comes of it: it is told while that lasts."""
    relay = start_relay(_config(receiver))
    sender = Sender(relay)
    assert sender.post() == 202
    receiver.wait(1)
    with _injected(relay, "fdatasync,fsync", "delay_enter=100s:when=1"):
        sender.hears_503("hangs")
    sender.goes_on(receiver)
