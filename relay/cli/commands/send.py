"""`relay send`: post an event signed as its provider would."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.open import load_settings
from relay.cli.options import ConfigOption
from relay.cli.output import render
from relay.cli.output.formats import decoded
from relay.errors import UsageError
from relay.model import Headers

if TYPE_CHECKING:
    import httpx

    from relay.config import Settings, Source

_SAMPLE = b'{"hello":"relay"}'
_TIMEOUT = 30.0


def send(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source to post to, by its name.")],
    *,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The body, byte for byte; - is standard input.")
    ] = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many to post, each with an id of its own.")
    ] = 1,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The event's type, where a header has it.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where to post instead of this machine's Relay.")
    ] = None,
    config_path: ConfigOption = None,
) -> None:
    """Post events signed as the provider would."""
    import httpx

    from relay import config

    settings = load_settings(config=config_path)
    configuration = config.load(settings.config, os.environ)
    found = configuration.sources.get(source)
    if found is None:
        names = ", ".join(sorted(configuration.sources))
        raise UsageError(f"no source {source!r} in {settings.config}; there are: {names}")
    body = _body(file)
    target = found.scheme.target(url or _address(settings, found), body)
    refused = 0
    with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
        for _ in range(count):
            response = _post(
                client,
                found,
                target=target,
                public_url=settings.public_url,
                body=body,
                event_type=event_type,
            )
            typer.echo(f"{response.status_code} {decoded(response.content[:4096]).strip()}")
            refused += not response.is_success
    if refused:
        render.note(f"{refused} of {count} were refused; the service's log has the reason (event.rejected)")
        raise typer.Exit(1)


def _says(headers: Headers, event_type: str) -> bool:
    """Whether a header has the type, or what stands before its dot where the body has the rest."""
    wanted = {event_type.encode(), event_type.partition(".")[0].encode()}
    return any(value in wanted for _, value in headers)


def _address(settings: Settings, source: Source) -> str:
    path = source.path.template
    if source.path.placeholders:
        hole = "{" + source.path.placeholders[0] + "}"
        raise UsageError(f"the path of {source.name!r} has {hole}: say the whole address with --url")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound here
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/hooks{path}"


def _body(file: str | None) -> bytes:
    try:
        match file:
            case None:
                return _SAMPLE
            case "-":
                return sys.stdin.buffer.read()
            case _:
                return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error


def _post(
    client: httpx.Client,
    source: Source,
    *,
    target: str,
    public_url: str | None,
    body: bytes,
    event_type: str | None,
) -> httpx.Response:
    import httpx

    method = "POST" if "POST" in source.methods else min(source.methods)
    signed_url = target
    if public_url:
        signed_url = public_url.rstrip("/") + httpx.URL(target).raw_path.decode()
    now, event_id = time.time(), str(uuid.uuid4())
    body = source.scheme.fill(body, now=now, event_id=event_id)
    headers = source.scheme.sign(
        body,
        now=now,
        event_id=event_id,
        url=signed_url,
        method=method,
        event_type=event_type,
    )
    if event_type is not None and not _says(headers, event_type):
        raise UsageError(
            f"--type {event_type}: the scheme {source.scheme.name} has no header for an event's type:"
            " write it into the body, and send that with --file"
        )
    try:
        return client.request(method, target, content=body, headers=list(headers))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(f"cannot post to {target}: {error}. Is `relay serve` running there?") from error
