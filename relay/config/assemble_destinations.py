"""Turns the checked model of a destination into the value that the service uses."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from typing import assert_never

from relay import retry
from relay.breaker import BreakerPolicy
from relay.config.compiler import Compiler
from relay.config.model import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    Celery,
    Destination,
    Email,
    Http,
    OAuth2Auth,
    Success,
    Timeout,
)
from relay.config.shape import destinations as written
from relay.config.shape import outbound, routes
from relay.config.shape.urls import UNSET_URL
from relay.routing import Order


def destination(
    name: str, model: written.Destination, tls: ssl.SSLContext | None, compiler: Compiler
) -> Destination:
    """A destination; `tls` is made of its certificate files, if it has any of its own."""
    return Destination(
        name=name,
        target=_target(model, tls, compiler),
        timeout=Timeout(connect=model.timeout.connect, total=model.timeout.total),
        retry=_retry(model),
        concurrency=model.limits.concurrency,
        rate=model.limits.rate,
        breaker=_breaker(model.breaker),
        order=order(model.order, None, compiler),
        max_backlog=model.max_backlog,
    )


def order(
    model: routes.OrderRule | None, placeholders: Collection[str] | None, compiler: Compiler
) -> Order | None:
    """An order; where several sources may lead to it, their placeholders are not checked."""
    if model is None:
        return None
    return Order(key=compiler.program(model.key, placeholders), hold=model.on_dead == "hold")


def _target(
    model: written.Destination, tls: ssl.SSLContext | None, compiler: Compiler
) -> Http | Email | Celery:
    if model.email is not None:
        return _email(model.email)
    if model.celery is not None:
        task = model.celery
        return Celery(broker=task.broker, task=task.task, queue=task.queue, encoding=task.encoding)
    return _http(model, tls, compiler)


def _http(model: written.Destination, tls: ssl.SSLContext | None, compiler: Compiler) -> Http:
    success, _, _ = model.statuses()
    return Http(
        url=compiler.template(str(model.url or UNSET_URL), None),
        method=model.method,
        forward_query=model.query == "forward",
        headers=tuple((key.lower().encode(), value.encode()) for key, value in model.headers.items()),
        success=Success(success),
        auth=None if model.auth is None else _auth(model.auth),
        sign=() if model.sign is None else model.sign.build(),
        tls=tls,
    )


def _email(model: outbound.Email) -> Email:
    return Email(
        to=model.to,
        sender=model.sender,
        host=model.smtp.host,
        port=model.smtp.port(model.tls),
        tls=model.tls,
        username=model.smtp.username,
        password=model.smtp.password,
    )


def _auth(model: outbound.Auth) -> Auth:
    match model:
        case outbound.BearerAuth():
            return BearerAuth(token=model.token.get_secret_value())
        case outbound.BasicAuth():
            return BasicAuth(username=model.username, password=model.password.get_secret_value())
        case outbound.ApiKeyAuth():
            return ApiKeyAuth(header=model.header, query=model.query, value=model.value.get_secret_value())
        case outbound.OAuth2Auth():
            return OAuth2Auth(
                token_url=model.token_url,
                client_id=model.client_id,
                client_secret=model.client_secret.get_secret_value(),
                scope=model.scope,
            )
        case _:
            assert_never(model)


def _retry(model: written.Destination) -> retry.Policy:
    _, give_up_on, pause_on = model.statuses()
    rule, schedule = model.retry, model.retry.schedule or ()
    return retry.Policy(
        first_wait=rule.first_wait,
        factor=rule.factor,
        # Beside a schedule it bounds what a Retry-After asks, and must not cut the schedule itself.
        max_wait=max((rule.max_wait, *schedule)),
        jitter=rule.jitter,
        max_age=rule.max_age,
        max_attempts=rule.max_attempts,
        give_up_on=give_up_on,
        pause_on=pause_on,
        schedule=schedule,
    )


def _breaker(model: written.BreakerRule | None) -> BreakerPolicy | None:
    return None if model is None else BreakerPolicy(failures=model.failures, cooldown=model.cooldown)
