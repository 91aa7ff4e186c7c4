"""The examples in config/examples: every one is a configuration that works as it stands."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay import config
from relay.config.shape.destinations import HTTP_ONLY
from relay.config.shape.file import File

jsonschema: Any = importlib.import_module("jsonschema")  # it has no types

FOLDER = Path(__file__).parents[2] / "config" / "examples"
EXAMPLES = sorted(FOLDER.iterdir())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    """It loads without any variable, its routes lead somewhere, and editors agree with the loader."""
    loaded = config.load(path, {}, allow_unset=True)
    assert all(loaded.routes.values()), "a source without a route"
    named = {name for routes in loaded.routes.values() for route in routes for name in route.to}
    assert named | {name for rule in loaded.alerts for name in rule.to} == loaded.destinations.keys()
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../relay.schema.json\n#\n# ")
    validator = jsonschema.Draft202012Validator(config.json_schema())
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_secret_is_written_out(path: Path) -> None:
    """An example shows secrets as they should be: by name."""
    shown = json.dumps(yaml.safe_load(config.resolved(path, {}, allow_unset=True)))
    assert "*****" not in shown


def test_together() -> None:
    """They show every section of the file and every key of a destination, and are numbered throughout."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in EXAMPLES]
    assert {section for file in files for section in file} >= File.model_fields.keys() - {"retention"}
    keys = {key for file in files for entry in file["destinations"].values() for key in entry}
    assert keys >= {*HTTP_ONLY, "url", "email", "celery", "timeout", "retry", "limits", "breaker", "order"}
    assert [path.name[:2] for path in EXAMPLES] == [f"{number:02}" for number in range(1, len(EXAMPLES) + 1)]
