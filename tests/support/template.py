"""A process that has imported Relay and forks a child for each start that a test asks for.

Importing Relay costs most of a start. This process imports it once; it has no other thread, no event
loop, and has read nothing of any test's environment. A child gets its own arguments, environment,
folder and standard streams, and builds settings, logging, loop and coverage itself. When the test's
process ends, this one does, and the kernel kills the children.

Run as `python -m tests.support.template DESCRIPTOR`, the descriptor of a socket on which requests come.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import relay
from tests.support.forked import LONGEST

LIBRARIES = (
    "aiosmtplib",
    "alembic.command",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)
"""What Relay imports only when it needs it."""

_DIES_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG


def main() -> None:
    """Serve requests; returns in a child, which then is `relay ARGUMENTS`."""
    _import_all()
    request = _Template(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        _become(request)
        from relay.cli import main as run  # noqa: PLC0415 - imported already

        run()


def _import_all() -> None:
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    # A thread of the parent's does not exist in a child, though its locks may be held there for ever.
    threads = Path("/proc/self/task")
    if threading.active_count() > 1 or (threads.exists() and len(list(threads.iterdir())) > 1):
        raise RuntimeError("importing Relay has started a thread: it cannot be forked")
    gc.collect()
    gc.freeze()


class _Template:
    """Forks for requests, and says on each child's own socket how it ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._children: dict[int, socket.socket] = {}
        self._woken, self._wakes = socket.socketpair()
        for end in (self._woken, self._wakes):
            os.set_blocking(end.fileno(), False)

    def serve(self) -> dict[str, Any] | None:
        """Until the test's process ends; what a child should become, in that child."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno())
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        self._reap()
                        continue
                    message, descriptors, *_rest = socket.recv_fds(self._requests, LONGEST, 4)
                    if not message:
                        return None
                    request = json.loads(message)
                    if self._fork(descriptors):
                        signal.set_wakeup_fd(-1)
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        return dict(request)

    def _fork(self, descriptors: list[int]) -> bool:
        """Whether this is the child; the parent tells its pid."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_DIES_WITH_ITS_PARENT, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            for descriptor in descriptors:
                os.close(descriptor)
            for other in (*self._children.values(), self._requests, self._woken, self._wakes):
                other.close()
            return True
        *streams, status = descriptors
        for descriptor in streams:
            os.close(descriptor)
        told = self._children[pid] = socket.socket(fileno=status)
        told.send(str(pid).encode())
        return False

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        for pid, told in tuple(self._children.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid]
                with contextlib.suppress(OSError):
                    told.send(str(os.waitstatus_to_exitcode(status)).encode())
                told.close()


def _become(request: dict[str, Any]) -> None:
    """Take the arguments, the environment and the folder of a process that was started by itself."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    time.tzset()
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["relay", *request["arguments"]]
    if os.environ.get("COVERAGE_PROCESS_CONFIG"):
        import coverage  # noqa: PLC0415 - only where it is measured

        coverage.process_startup()


if __name__ == "__main__":
    main()
