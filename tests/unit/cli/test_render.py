"""Tables are plain in a pipe, and rich on a terminal without obeying what they show."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from relay.cli.output.render import Column, Line, document, table, timeline

COLUMNS = (Column("NAME"), Column("COUNT", right=True), Column("STATE", styled=True))
ROWS = [("[bold]x[/bold]\x1b[2J", "1,000", "dead"), ("y", "2", "delivered")]

ON_A_TERMINAL = """
from relay.cli.output.render import Column, Line, table, timeline
table([Column("NAME"), Column("STATE", styled=True)], [("[bold]x[/bold]\\x1b[2J", "dead")])
timeline([Line("[red]no markup[/red] " + "long " * 30, depth=2, style="bold")])
"""


IN_A_NARROW_ONE = """
from relay.cli.output.render import Column, table
columns = (Column("DELIVERY"), Column("DESTINATION"), Column("LAST"), Column("ERROR", wraps=True))
table(columns, [("dlv_" + "0" * 32, "billing", "http_status 503", "all went wrong " * 9)])
columns = (Column("CREATED"), Column("EVENT"), Column("STATE", styled=True), Column("SIZE", right=True))
table(columns, [("2026-01-31 08:00:00Z", "evt_" + "1" * 32, "filtered (no_match)", "1.2 KiB")])
"""


def test_in_a_pipe_columns_are_padded_and_nothing_is_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain text, aligned, with the sender's escapes written out."""
    table(COLUMNS, ROWS, title="a title")
    timeline([Line("deep", depth=2, style="bold red")])
    assert capsys.readouterr().out.splitlines() == [
        "a title",
        r"NAME                   COUNT  STATE",
        r"[bold]x[/bold]\x1b[2J  1,000  dead",
        r"y                          2  delivered",
        "    deep",
    ]


def test_a_document_is_inert_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """C1 controls, directional marks and lone surrogates are escaped, and read back as they were."""
    value = {"wild": "\x9b31m\u202e\x7f\ud800 ü"}
    document(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == value


def on_a_terminal(program: str, *, columns: int) -> str:
    """What the program shows on a terminal of so many columns."""
    main, side = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    environ.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", program], stdout=side, stderr=side, env=environ, check=True)
    os.close(side)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:
        pass  # the other side is closed: all was read
    os.close(main)
    return shown.decode()


def test_on_a_terminal_there_is_colour_of_our_own_only() -> None:
    """The state is coloured; markup and escapes of a sender appear as text."""
    text = on_a_terminal(ON_A_TERMINAL, columns=100)
    assert "\x1b[1;31mdead" in text
    assert r"[bold]x[/bold]\x1b[2J" in text
    assert "[red]no markup[/red]" in text
    assert "\x1b[2J" not in text


def test_prose_that_has_no_room_in_a_table_stands_below_it() -> None:
    """By the name of its row: the table itself then fits the terminal."""
    program = """
from relay.cli.output.render import Column, table
columns = (Column("COUNT", right=True), Column("NAME"), Column("LONG " * 5), Column("ERROR", wraps=True))
table(columns, [("1", "billing", "x", "all went wrong"), ("2", "chat", "y", "")])
"""
    lines = [line.rstrip() for line in on_a_terminal(program, columns=60).splitlines()]
    assert "  billing: all went wrong" in lines
    assert not any("chat:" in line for line in lines)
    assert not any("ERROR" in line for line in lines)
    wide = on_a_terminal(program, columns=100)
    assert "ERROR" in wide
    assert "billing: all" not in wide


@pytest.mark.parametrize("columns", [40, 80])
def test_an_id_can_be_copied_from_a_narrow_terminal(columns: int) -> None:
    """Only what is prose is broken to the width; ids, names and titles stay whole."""
    text = on_a_terminal(IN_A_NARROW_ONE, columns=columns)
    assert "dlv_" + "0" * 32 in text
    assert "DESTINATION" in text
    assert "http_status 503" in text
    for whole in ("2026-01-31 08:00:00Z", "evt_" + "1" * 32, "filtered (no_match)", "1.2 KiB"):
        assert whole in text
    assert text.count("all went wrong") > 1
    assert "all went wrong " * 9 not in text
