"""Starting `relay` quickly: as a child of a process that has imported it, where that makes no difference."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "SSL_CERT_")
"""Variables that are read before any of ours runs, or by an import; a forked child would not heed them."""


LONGEST = 1 << 20
"""Bytes of a request; an environment may be large."""


class Forked:
    """A child of the template, with what `subprocess.Popen` offers of it."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid = int(status.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired where it does not come."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("relay", timeout or 0.0)
            self._read()
        return self.returncode or 0

    def _read(self) -> None:
        code = self._status.recv(64)
        self._status.close()
        # Where the template has ended, the kernel has killed its children.
        self.returncode = int(code) if code else -9


class Template:
    """The process that forks; one for each process of the tests."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.template", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environ,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        theirs.close()
        self._requests = ours
        self._turn = threading.Lock()
        atexit.register(self.close)

    def start(
        self,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Forked:
        """A child that is `relay ARGUMENTS`, leader of a session of its own."""
        request = {"arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}
        message = json.dumps(request).encode()
        assert len(message) < LONGEST
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._turn, theirs:
            socket.send_fds(self._requests, [message], [stdin, stdout, stderr, theirs.fileno()])
        return Forked(ours)

    def close(self) -> None:
        """End it, and with it whatever children are left."""
        self._requests.close()
        self._process.wait(10)


@functools.cache
def template() -> Template:
    """This process's template, started when it is first asked for."""
    return Template()


def serves(environ: Mapping[str, str]) -> bool:
    """Whether a forked child would be the same as one that is started with this environment."""
    return all(
        value == os.environ.get(name) for name, value in environ.items() if name.startswith(_READ_AT_START)
    )


def run(
    arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, stdin: str, timeout: float
) -> tuple[int, str, str]:
    """Run a command to its end: exit code, output, errors; subprocess.TimeoutExpired where it goes on."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        child = template().start(
            arguments,
            environ=environ,
            folder=folder,
            stdin=given.fileno(),
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, 9)
            child.wait(10)
            raise
        return code, _all_of(out), _all_of(err)


def _all_of(file: IO[Any]) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))
