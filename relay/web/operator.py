"""The operators' listener, on loopback: metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.trustedhost import TrustedHostMiddleware

from relay.service import Service

LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


async def get_service(request: Request) -> Service:
    """Dependency: the service that this application speaks for."""
    service: Service = request.app.state.service
    return service


async def metrics(service: Annotated[Service, Depends(get_service)]) -> Response:
    """Prometheus metrics, gauges fresh from the journal."""
    await service.refresh_metrics()
    return Response(generate_latest(service.telemetry.registry), media_type=CONTENT_TYPE_LATEST)


def create_app(service: Service) -> FastAPI:
    """The operator application; a foreign Host is refused, so that no web page can rebind to it."""
    app = FastAPI(title="Relay operator", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)
    app.add_api_route("/metrics", metrics, methods=["GET"])
    return app
