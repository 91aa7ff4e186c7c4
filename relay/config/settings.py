"""What differs from machine to machine: the RELAY_ environment variables, or the same-named flags."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from relay.config.addresses import Network, network, url
from relay.config.values import Wrong, duration, shown
from relay.errors import ConfigError

_PREFIX = "RELAY_"

_EXPECTED = {
    "int_parsing": "a whole number",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
}
"""What pydantic finds wrong with a setting, in the words of the reports on the file."""


def _seconds(value: object) -> object:
    """A duration as in the YAML file, or a plain number of seconds."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return duration(value)


def _networks(value: object) -> object:
    if isinstance(value, str):
        return tuple(network(part.strip()) for part in value.split(",") if part.strip())
    return value


def _public(value: str | None) -> str | None:
    if not value:
        return None
    parts = urlsplit(url(value))
    if parts.query:
        raise Wrong("expected a URL without a query, such as https://hooks.example.com")
    return value.rstrip("/")


def _loopback(host: str) -> str:
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise Wrong(
            "the operator listener has no login, so it binds loopback only: 127.0.0.1, ::1 or localhost"
        )
    return host


Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The settings of one process; ConfigError names the variable or flag that is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    config: Path = Path("config/relay.yaml")
    journal: str = "sqlite:///relay.db"
    host: str = "0.0.0.0"  # noqa: S104  the ingress is meant to be reached
    port: Port = 8080
    admin_host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"
    admin_port: Port = 8081
    public_url: Annotated[str | None, AfterValidator(_public)] = None
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    grace: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=3600, allow_inf_nan=False)] = 25.0
    max_backlog: Annotated[int, Field(ge=0)] = 0

    def __init__(self, **flags: Any) -> None:
        try:
            super().__init__(**flags)
        except ValidationError as error:
            raise ConfigError("\n".join(_complaint(each, flags) for each in error.errors())) from None


def _complaint(error: ErrorDetails, flags: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    place = f"--{name.replace('_', '-')}" if name in flags else f"{_PREFIX}{name.upper()}"
    context = error.get("ctx", {})
    cause = context.get("error")
    if error["type"] in _EXPECTED:
        message = f"expected {_EXPECTED[error['type']].format_map(context)}, found {shown(error['input'])}"
    else:
        message = str(cause) if cause is not None else error["msg"][:1].lower() + error["msg"][1:]
    close = cause.nearest if isinstance(cause, Wrong) else None
    return f"{place}: {message}" + (f'; did you mean "{close}"?' if close else "")
