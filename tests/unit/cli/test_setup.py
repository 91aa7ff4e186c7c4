"""`init`, `check` and `schema` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay.cli.app import app

GOOD = """\
sources:
  github:
    verify: {scheme: github, secrets: "${TOKEN}"}
destinations:
  billing: {url: "https://billing.example.com/hooks"}
routes:
  - {source: github, to: billing}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid file, and the environment that it needs."""
    path = tmp_path / "relay.yaml"
    path.write_text(GOOD)
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    return path


def test_what_init_writes_passes_check(tmp_path: Path) -> None:
    """The starting file is valid as it stands (its variables aside), and is never overwritten."""
    run = CliRunner().invoke
    assert run(app, ["init", str(tmp_path)]).exit_code == 0
    path = tmp_path / "config" / "relay.yaml"
    assert run(app, ["check", "--allow-unset", "--config", str(path)]).exit_code == 0
    named = path.read_text().partition("$schema=")[2].split()[0]
    assert "sources" in json.loads((path.parent / named).read_text())["properties"]
    before = path.read_bytes()
    again = run(app, ["init", str(tmp_path)])
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert path.read_bytes() == before


def test_init_elsewhere_says_how_to_use_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next command finds the file: by default in this folder, else by --config."""
    monkeypatch.chdir(tmp_path)
    assert "then `relay check` and" in CliRunner().invoke(app, ["init"]).stdout
    assert (
        "`relay check --config there/config/relay.yaml`" in CliRunner().invoke(app, ["init", "there"]).stdout
    )


def test_init_names_the_file_that_it_cannot_write(tmp_path: Path) -> None:
    """The schema is the second file: where it fails, it is the one that is named."""
    (tmp_path / "config" / "relay.schema.json").mkdir(parents=True)
    result = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert result.exit_code == 2
    assert "relay.schema.json: Is a directory" in result.stderr


def test_init_says_why_it_cannot_write(tmp_path: Path) -> None:
    """A file where the folder should be is one clear message."""
    (tmp_path / "config").write_text("")
    result = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert result.exit_code == 2
    assert "config" in result.stderr


def test_check_counts_what_it_found(config: Path) -> None:
    """A valid file is 0 with its figures."""
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 source, 1 destination, 1 route" in result.stdout


def test_resolved_shows_the_file_without_secrets(config: Path) -> None:
    """The merged file has the defaults and no secret."""
    result = CliRunner().invoke(app, ["check", "--resolved"])
    assert result.exit_code == 0
    assert "billing" in result.stdout
    assert "hunter2" not in result.stdout


def test_check_warns_of_what_is_most_likely_not_meant(config: Path) -> None:
    """It is printed beside the result, which is 0; with --strict it is a mistake."""
    config.write_text(GOOD + "  - {name: more, source: github, to: billing}\n")
    assert CliRunner().invoke(app, ["check", "--strict"]).exit_code == 0
    config.write_text(GOOD.replace("destinations:", "  idle: {verify: none}\ndestinations:"))
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0
    assert "no mistakes, 1 warning" in result.stdout
    assert "warning: " in result.stderr
    assert "relay.yaml:4:3: sources.idle: no route has this source" in result.stderr
    strict = CliRunner().invoke(app, ["check", "--strict"])
    assert (strict.exit_code, strict.stdout) == (2, "")
    assert "sources.idle: no route has this source" in strict.stderr


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("${TOKEN}", "${TOKEN_OF_NOBODY}", "TOKEN_OF_NOBODY"),
        ("destinations:", "destinatoins:", "destinations"),
        ("to: billing", "to: biling", "billing"),
        ('verify: {scheme: github, secrets: "${TOKEN}"}', "methods: POST", "or `none`"),
    ],
)
def test_a_new_users_mistakes_end_with_2(config: Path, before: str, after: str, says: str) -> None:
    """An unset variable, a misspelt key and a route to nowhere name what is meant, without traceback."""
    config.write_text(GOOD.replace(before, after))
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "relay.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_allow_unset_lets_a_missing_variable_pass(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI has no secrets and checks the file all the same."""
    monkeypatch.delenv("TOKEN")
    assert CliRunner().invoke(app, ["check"]).exit_code == 2
    assert CliRunner().invoke(app, ["check", "--allow-unset"]).exit_code == 0
    shown = CliRunner().invoke(app, ["check", "--allow-unset", "--resolved"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "${TOKEN}" in shown.stdout


def test_the_schema_is_one_json_document() -> None:
    """Editors can read it."""
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert {"sources", "destinations", "routes"} <= set(json.loads(result.stdout)["properties"])


def test_send_to_a_source_that_is_not_there_names_those_that_are(config: Path) -> None:
    """A mistyped source is wrong usage."""
    result = CliRunner().invoke(app, ["send", "gitbub"])
    assert result.exit_code == 2
    assert "github" in result.stderr


def test_send_refuses_a_type_that_no_header_would_carry(config: Path) -> None:
    """It is not dropped in silence, but told where it belongs; GitHub has a header for it."""
    config.write_text(GOOD.replace("scheme: github", "scheme: stripe"))
    result = CliRunner().invoke(app, ["send", "github", "--type", "x", "--url", "http://127.0.0.1:9/hooks"])
    assert result.exit_code == 2
    assert "has no header for an event's type" in result.stderr
    config.write_text(GOOD)
    result = CliRunner().invoke(app, ["send", "github", "--type", "x.y", "--url", "http://127.0.0.1:9/hooks"])
    assert "cannot post" in result.stderr


def test_send_where_nothing_listens_is_one_message(config: Path) -> None:
    """A service that is down is said plainly."""
    result = CliRunner().invoke(app, ["send", "github", "--url", "http://127.0.0.1:9/hooks/github"])
    assert result.exit_code == 2
    assert "relay serve" in result.stderr
