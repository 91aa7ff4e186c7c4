"""`relay serve` and `relay demo`: what runs until it is told to stop."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from typing import Annotated

import typer

from relay.cli.open import load_settings
from relay.cli.options import ConfigOption, JournalOption


def serve(
    *,
    config_path: ConfigOption = None,
    journal: JournalOption = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address of the ingress.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port of the ingress.")] = None,
    admin_host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Address of the operator listener; all but loopback need a token."
        ),
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of the operator listener.")
    ] = None,
    admin_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="The token that callers must send. Better in RELAY_ADMIN_TOKEN: others see flags in `ps`.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port for /metrics alone, on the same address.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address that senders use and sign.")
    ] = None,
    trusted_proxies: Annotated[
        str | None,
        typer.Option(metavar="NETWORKS", help="Networks whose X-Forwarded-For counts, separated by commas."),
    ] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="json or console.")] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that share the work of this machine.")
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Time for attempts in flight when it stops, as 25s."),
    ] = None,
    max_backlog: Annotated[
        int | None,
        typer.Option(metavar="N", help="Answer 503 from so many pending deliveries on; 0 is no limit."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Load the file again whenever it is written, like `relay reload`.")
    ] = False,
) -> None:
    """Run the service.

    Each flag overrides the RELAY_ variable of its name. SIGHUP makes it load the file again.
    """
    settings = load_settings(
        config=config_path,
        journal=journal,
        host=host,
        port=port,
        admin_host=admin_host,
        admin_port=admin_port,
        admin_token=admin_token,
        metrics_port=metrics_port,
        public_url=public_url,
        trusted_proxies=trusted_proxies,
        log_format=log_format,
        log_level=log_level,
        workers=workers,
        grace=grace,
        max_backlog=max_backlog,
    )
    if settings.workers > 1:
        from relay.web import parent_process  # without the service: it runs in the workers

        raise typer.Exit(parent_process.supervise(settings, watch=watch))
    from relay.web import server

    raise typer.Exit(server.serve(settings, watch=watch))


def worker() -> None:
    """Be one worker of `relay serve --workers N`, which starts this."""
    from relay.web import worker as one

    raise typer.Exit(one.work())


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End when all is delivered, instead of staying up.")
    ] = False,
) -> None:
    """Show Relay at work, in a temporary folder.

    Signed GitHub, Stripe, Slack and Standard Webhooks events go through the real service to a
    receiver that fails at first; --once ends with 0 when all were delivered.
    """
    from relay import demo as show

    raise typer.Exit(show.run(once=once, say=typer.echo))
