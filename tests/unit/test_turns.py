"""Several processes write to one pipe, and no line of one is in the midst of another's."""

from __future__ import annotations

import os
import subprocess
import sys

from relay.telemetry.stdout_lock import make_turns

_WRITER = """
import os, sys
from relay.telemetry import log_writer
log_writer.GOODBYE = 60
letter, turns, begun = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer = log_writer.LineWriter(sys.stdout, turns=turns)
for number in range(3_000):
    writer.later(letter * 900)
os.write(begun, b".")
writer.close()
"""


def test_lines_of_several_processes_are_whole() -> None:
    """A block of lines is longer than a pipe takes at once; the next process waits until it is through."""
    turns = make_turns()
    read_end, write_end = os.pipe()
    begun, begins = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, letter, str(turns), str(begins)],
            stdout=write_end,
            pass_fds=(turns, begins),
        )
        for letter in "abc"
    ]
    os.close(write_end)
    for _ in processes:
        assert os.read(begun, 1), "none is read from before all have begun to write"
    with os.fdopen(read_end, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert len(lines) == 9_000
    assert {bytes(sorted(set(line))) for line in lines} == {b"a", b"b", b"c"}
    assert {len(line) for line in lines} == {900}
    for one in (turns, begun, begins):
        os.close(one)


def test_a_process_that_dies_in_its_turn_gives_it_up() -> None:
    """The kernel ends the turn: the others' log goes on."""
    turns = make_turns()
    dies = (
        "import fcntl, os, signal, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", dies, str(turns)], pass_fds=(turns,), check=False)
    done = subprocess.run(
        [sys.executable, "-c", _WRITER, "a", str(turns), "2"],
        pass_fds=(turns,),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 3_000
    os.close(turns)
