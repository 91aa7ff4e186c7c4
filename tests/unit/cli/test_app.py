"""The program as a whole: quick to ask for help, one clear message and exit code for each mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay import __version__
from relay.cli.app import app

HEAVY = ("aiohttp", "alembic", "fastapi", "httpx", "pydantic", "rich", "sqlalchemy", "uvicorn")


def test_help_imports_nothing_heavy() -> None:
    """`relay --help` answers without loading the service, the journal or the terminal's tables."""
    program = (
        "import sys\nfrom relay.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "ledger" in done.stdout


@pytest.mark.parametrize("command", ["retry", "replay"])
def test_the_help_of_what_takes_ids_reads_as_it_is_typed(command: str) -> None:
    """IDs are optional and many, said once; and only what the command takes is offered."""
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    assert f"Usage: relay {command} [OPTIONS] [ID]...\n" in shown


@pytest.mark.parametrize("command", ["serve", "send", "events", "deliveries", "retry"])
def test_the_help_names_what_a_value_is(command: str) -> None:
    """No option shows the type of the program behind it."""
    assert not re.search(r"--[a-z-]+ +<", CliRunner().invoke(app, [command, "--help"]).stdout)


def test_the_module_runs_too() -> None:
    """`python -m relay` is the same program."""
    done = subprocess.run(
        [sys.executable, "-m", "relay", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"relay {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "nonsense"),
        (["show"], "ID"),
        (["events", "--limit", "0"], "--limit"),
        (["events", "--state", "broken"], "--state"),
        (["deliveries", "--group-by", "moon"], "--group-by"),
        (["retry"], "say which"),
        (["retry", "dlv_1", "--source", "github"], "exclude each other"),
        (["retry", "--state", "delivered"], "only what is dead or pending"),
        (["replay", "evt_1", "--to", "x", "--reroute"], "exclude each other"),
        (["check", "config/relay.yaml"], "--config config/relay.yaml"),
        (["serve", "--port", "moon"], "--port"),
        (["serve", "--grace", "moon"], "--grace"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_message(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage errors say what is wrong on stderr, print nothing on stdout and show no traceback."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["ledger"], ["events"], ["deliveries"], ["show", "x"], ["retry", "x"], ["replay", "x"]],
)
def test_reading_never_creates_a_journal(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no journal every command says so with exit code 2, and leaves no file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_JOURNAL", "sqlite:///gone.db")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "gone.db" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_variable_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A RELAY_ variable that cannot be is one line with its name."""
    result = CliRunner().invoke(app, ["status"], env={"RELAY_PORT": "moon"})
    assert result.exit_code == 2
    assert "RELAY_PORT" in result.stderr


def test_a_command_imports_no_other() -> None:
    """One command is imported and built when it is asked for; the other twenty would take longer than it."""
    program = (
        "import sys\nfrom relay.cli.app import app\n"
        "try:\n    app(['schema', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(' '.join(name for name in sys.modules if name.startswith('relay.cli.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    others = {"doctor", "journal", "replay", "retry_cancel", "serve", "show_list", "status_ledger"}
    assert "Print the JSON Schema of the file." in done.stdout
    assert not others & {name.removeprefix("relay.cli.commands.") for name in done.stderr.split()}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["stats"], "'status'"), (["journal", "upgrad"], "'upgrade'"), (["repla"], "'replay'")],
)
def test_a_mistyped_command_is_told_the_right_one(typed: list[str], meant: str) -> None:
    """What is meant is found among all the commands there are."""
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 2
    assert f"Did you mean {meant}" in result.stderr.replace("\n", " ")
