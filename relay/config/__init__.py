"""The YAML file and the RELAY_ environment, as frozen values; every mistake in one report."""

from relay.config.load import json_schema, load, resolved, schema_text, starter
from relay.config.model import (
    Configuration,
    DedupRule,
    Destination,
    PathPattern,
    Respond,
    Retention,
    Source,
    Success,
    Timeout,
)
from relay.config.report import Mistake, Place, describe
from relay.config.settings import Settings

__all__ = [
    "Configuration",
    "DedupRule",
    "Destination",
    "Mistake",
    "PathPattern",
    "Place",
    "Respond",
    "Retention",
    "Settings",
    "Source",
    "Success",
    "Timeout",
    "describe",
    "json_schema",
    "load",
    "resolved",
    "schema_text",
    "starter",
]
