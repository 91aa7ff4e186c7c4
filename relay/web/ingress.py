"""The public listener: takes webhooks, answers 202 once they are on disk, and forwards them after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from relay import model
from relay.config import Configuration, Settings, Source
from relay.errors import InternalFault, JournalUnavailable, RequestRefused, RowRefused
from relay.ingest import Accepted
from relay.service.service import Service
from relay.signatures import Answer
from relay.web.body import BodyBudget, read_body

JOURNAL_RETRY_AFTER = 5
HOOKS = "/hooks/"
_ANSWER_HEADERS = {"X-Content-Type-Options": "nosniff"}
"""An answer echoes what a stranger wrote: no browser may take it for a page."""
METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS")
_MESSAGES = {
    400: "malformed request",
    401: "signature not accepted",
    403: "address not allowed",
    404: "no such source",
    405: "method not allowed",
    408: "request too slow",
    413: "body too large",
    429: "too many requests, try again later",
    503: "cannot take it now, try again later",
}


class SourceTable:
    """Finds the source of a path, in a time that does not grow with their number.

    Literal paths stand in a dictionary. Those with placeholders are grouped by how many segments they
    have and which of these are literal; in each group a dictionary has the literal ones. No two sources
    have a path in common, which the file's check sees to.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._literal: dict[str, Source] = {}
        self._groups: dict[int, dict[tuple[int, ...], dict[tuple[str, ...], Source]]] = {}
        for source in sources.values():
            segments = source.path.segments
            literal = tuple(index for index, one in enumerate(segments) if not one.startswith("{"))
            if len(literal) == len(segments):
                self._literal[source.path.template] = source
            else:
                group = self._groups.setdefault(len(segments), {}).setdefault(literal, {})
                group[tuple(segments[index] for index in literal)] = source

    def find(self, path: str) -> tuple[Source, Mapping[str, str]]:
        """The source that listens on a path below `/hooks`, with what its placeholders caught."""
        source = self._literal.get(path)
        if source is not None:
            return source, {}
        groups = self._groups.get(path.count("/"))
        if groups is not None:
            _, *segments = path.split("/")
            for literal, group in groups.items():
                source = group.get(tuple(segments[index] for index in literal))
                caught = None if source is None else source.path.match(path)
                if source is not None and caught is not None:
                    return source, caught
        raise RequestRefused(404, "unknown_source")


class Ingress:
    """What the endpoint needs, built once per process and handed to it by `Depends`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.budget = BodyBudget(service.memory)
        self.replace(service.configuration)

    def replace(self, configuration: Configuration) -> None:
        """Take another configuration; requests that found their source before go on with that."""
        self.sources = SourceTable(configuration.sources)


def ingress_of(request: Request) -> Ingress:
    """This application's ingress."""
    ingress: Ingress = request.app.state.ingress
    return ingress


async def get_ingress(request: Request) -> Ingress:
    """Dependency: this application's ingress; async, since FastAPI gives others a thread."""
    return ingress_of(request)


class HookRoute(APIRoute):
    """Hands the hook endpoint just what it needs, past FastAPI's solving of dependencies.

    Solving them, and the exit stacks around them, cost 150 µs an event, more than the journal does.
    The endpoint keeps its signature, so that a plain APIRoute would serve it as well.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        background = BackgroundTasks()
        try:
            response: Response = await self.endpoint(request, background, ingress_of(request))
            await response(scope, receive, send)
        except Exception:
            # The sender is gone, or a bug was met; the event is on disk, and its deliveries hold slots.
            await background()
            raise
        if background.tasks:
            await background()


async def receive(
    request: Request, background: BackgroundTasks, ingress: Annotated[Ingress, Depends(get_ingress)]
) -> Response:
    """Take one webhook: 202 once it is on disk; its first attempts run after the response."""
    service = ingress.service
    remote = _remote(request, service.settings)
    path: str = request.scope["path"]
    source: Source | None = None
    try:
        source, placeholders = ingress.sources.find(path[len("/hooks") :])
        taken = await _receive_for(ingress, source, placeholders, request, remote)
    except RequestRefused as refused:
        return _refuse(service, refused, source=source, remote=remote, path=path)
    except Exception as error:  # noqa: BLE001 - a sender whose event met a bug must keep it
        return _refuse(service, _refusal(service, error), source=source, remote=remote, path=path)
    if not isinstance(taken, Accepted):
        return Response(taken.body, taken.status, headers=_ANSWER_HEADERS, media_type=taken.content_type)
    if taken.owned:
        background.add_task(service.dispatcher.run, taken.event, taken.owned)
    try:
        seconds = service.clock.now() - taken.event.received_at
        service.telemetry.acknowledged(source=source.name, seconds=seconds)
    except Exception as error:  # noqa: BLE001 - the event is on disk, which its sender must be told
        service.telemetry.internal_error(where="ingest", error=error)
    return _receipt(source, taken)


def _refusal(service: Service, error: Exception) -> RequestRefused:
    """What the sender hears, by whose fault it is that its event is not stored."""
    match error:
        case RowRefused():
            return RequestRefused(400, "row_refused")
        case InternalFault():  # reported by the journal
            return RequestRefused(503, "internal_error", retry_after=JOURNAL_RETRY_AFTER)
        case JournalUnavailable():
            return RequestRefused(503, "journal_unavailable", retry_after=JOURNAL_RETRY_AFTER)
        case _:
            service.telemetry.internal_error(where="ingest", error=error)
            return RequestRefused(503, "internal_error", retry_after=JOURNAL_RETRY_AFTER)


async def _receive_for(
    ingress: Ingress, source: Source, placeholders: Mapping[str, str], request: Request, remote: str | None
) -> Accepted | Answer:
    scope = request.scope
    greets = source.scheme.greeting is not None or bool(source.handshakes)
    if not greets:
        _admit(source, scope["method"], remote)
    headers: model.Headers = tuple(scope["headers"])
    body = await read_body(
        request.receive, limit=source.max_body, declared=_declared(headers), budget=ingress.budget
    )
    service = ingress.service
    posted = model.Request(
        method=scope["method"],
        path=scope["path"][len("/hooks") :],
        query=scope["query_string"],
        headers=headers,
        body=body,
        url=_url(request, service.settings) if source.scheme.needs_url else "",
        remote=remote,
        received_at=service.clock.now(),
    )
    if greets:
        # Providers ask by methods, and from addresses, by which no event ever comes.
        answer = service.verifier.greet(source, posted, placeholders)
        if answer is not None:
            service.telemetry.handshake_answered(source=source.name)
            return answer
        _admit(source, scope["method"], remote)
    # A journal that hangs must not fill the memory with what waits for it.
    ingress.budget.take(len(body))
    try:
        return await service.ingest.accept(source, placeholders, posted, wall=time.time())
    finally:
        ingress.budget.give(len(body))


def _admit(source: Source, method: str, remote: str | None) -> None:
    """Refuse what comes by another method, or from elsewhere, than the source takes."""
    if method not in source.methods:
        raise RequestRefused(405, "method")
    if source.allow_ips and not _is_in(remote, source.allow_ips):
        raise RequestRefused(403, "address")


def _receipt(source: Source, taken: Accepted) -> Response:
    if source.respond is not None:
        respond = source.respond
        return Response(respond.body, respond.status, media_type=respond.content_type)
    receipt = taken.receipt
    if receipt.kind == "duplicate":
        content = b'{"id": "%b", "duplicate": true}' % receipt.event_id.encode()
    else:
        content = b'{"id": "%b"}' % receipt.event_id.encode()
    return Response(content, 202, media_type="application/json")


def _refuse(
    service: Service, refused: RequestRefused, *, source: Source | None, remote: str | None, path: str
) -> Response:
    name = "" if source is None else source.name
    service.telemetry.event_rejected(
        source=name,
        reason=refused.reason,
        status=refused.status,
        remote=remote,
        path=path,
        url=refused.url,
    )
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if source is not None:
        service.journal.count_rejected(name)
        if refused.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(source.methods))
    content = json.dumps({"error": _message(refused)})
    return Response(content, refused.status, headers=headers, media_type="application/json")


def _message(refused: RequestRefused) -> str:
    if refused.reason.startswith("handshake_"):
        return "handshake not accepted"
    return _MESSAGES.get(refused.status, "refused")


def _declared(headers: model.Headers) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)  # the protocol has refused what is no plain number
    return None


def _remote(request: Request, settings: Settings) -> str | None:
    """The peer, or the nearest address that is not a trusted proxy's in X-Forwarded-For."""
    client = request.scope["client"]
    remote: str | None = client[0] if client else None
    if not settings.trusted_proxies or not _is_in(remote, settings.trusted_proxies):
        return remote
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for hop in reversed([hop.strip() for hop in forwarded if hop.strip()]):
        remote = hop
        if not _is_in(hop, settings.trusted_proxies):
            break
    return remote


def _is_in(address: str | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return False
    # A proxy that listens on both families writes IPv4 addresses as ::ffff:192.0.2.1.
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return any(parsed in network or (mapped is not None and mapped in network) for network in networks)


def _url(request: Request, settings: Settings) -> str:
    """The URL as the sender used it, which some schemes sign."""
    scope = request.scope
    query: bytes = scope["query_string"]
    tail: str = scope["raw_path"].decode("latin-1") + ("?" + query.decode("latin-1") if query else "")
    if settings.public_url:
        return f"{settings.public_url.rstrip('/')}{tail}"
    return f"{scope['scheme']}://{request.headers.get('host', '')}{tail}"


class IngressApp(FastAPI):
    """Hands hooks to their route in front of the middleware, which does nothing for them.

    It costs a tenth of an event; and its pattern would not match a path with a line break in it.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        self.state.ingress = Ingress(service)
        service.on_apply(self.state.ingress.replace)
        self.hooks = HookRoute("/hooks/{path:path}", receive, methods=list(METHODS))
        self.router.routes.append(self.hooks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a hook at once, and all else as FastAPI does."""
        if scope["type"] == "http" and scope["path"].startswith(HOOKS):
            scope["app"] = self
            await self.hooks.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(service: Service) -> FastAPI:
    """The ingress application: `/hooks/…`, `/livez`, `/readyz`, and nothing else."""
    app = IngressApp(service)
    app.add_api_route("/livez", livez, methods=["GET"], response_model=None)
    app.add_api_route("/readyz", readyz, methods=["GET"], response_model=None)
    return app


async def livez() -> dict[str, str]:
    """200 while the event loop turns."""
    return {"status": "alive"}


async def readyz(ingress: Annotated[Ingress, Depends(get_ingress)], response: Response) -> dict[str, str]:
    """200 when events can be taken: started, not draining, and the journal writable."""
    service = ingress.service
    if not service.ready:
        response.status_code = 503
        return {"status": "draining"}
    if not service.journal.available:
        response.status_code = 503
        return {"status": "journal unavailable"}
    return {"status": "ready"}
