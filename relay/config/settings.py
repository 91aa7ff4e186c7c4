"""What differs from machine to machine: the RELAY_ environment variables, or the same-named flags."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from relay.config.model import Network
from relay.config.shape.addresses import network, url
from relay.config.shape.scalars import Wrong, duration, shown
from relay.errors import ConfigError
from relay.lease_times import TIMES, Times

_PREFIX = "RELAY_"

MOST_WORKERS = 256
"""More than any machine has cores for: a slip of the finger."""

_TOKEN = re.compile(r"[!-~]+")
"""What a header may carry as it is."""

_EXPECTED = {
    "int_parsing": "a whole number",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
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


def _token(value: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(value.get_secret_value()):
        raise Wrong("expected letters, digits and marks without blanks, as `openssl rand -hex 32` makes them")
    return value


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
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8081
    admin_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    metrics_port: Port | None = None
    public_url: Annotated[str | None, AfterValidator(_public)] = None
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    grace: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=3600, allow_inf_nan=False)] = 25.0
    max_backlog: Annotated[int, Field(ge=0)] = 0
    time_scale: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __init__(self, **flags: Any) -> None:
        try:
            super().__init__(**flags)
        except ValidationError as error:
            raise ConfigError("\n".join(_complaint(each, flags) for each in error.errors())) from None

    @property
    def times(self) -> Times:
        """What processes watch each other by; shorter in tests alone, by the same scale on all of them."""
        return TIMES.scaled(self.time_scale)

    def require_login(self) -> None:
        """Refuse an operator listener that other machines reach and nobody has to log in to: ConfigError."""
        if self.admin_token is None and not _is_loopback(self.admin_host):
            raise ConfigError(
                f"{_PREFIX}ADMIN_HOST: other machines reach the operator listener on {self.admin_host}, so it"
                f" needs a token: set {_PREFIX}ADMIN_TOKEN (`openssl rand -hex 32` makes one), or leave it"
                " on loopback: 127.0.0.1, ::1 or localhost"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
