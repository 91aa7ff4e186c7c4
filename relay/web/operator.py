"""The operators' listener: metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest

from relay.config import Settings
from relay.web.operator_access import Gate


class Figures(Protocol):
    """Where metrics come from: a registry, or the sums over several."""

    def collect(self) -> Iterable[Metric]:
        """Every metric with its samples."""
        ...


def create_app(figures: Figures, *, refresh: Callable[[], Awaitable[None]], settings: Settings) -> FastAPI:
    """The operator application, behind its gate; `refresh` brings the figures up to date."""
    app = FastAPI(title="Relay operator", openapi_url=None, docs_url=None, redoc_url=None)

    async def metrics() -> Response:
        """Prometheus metrics, gauges fresh from the journal."""
        await refresh()
        return Response(generate_latest(figures), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)
    app.add_middleware(Gate, token=settings.admin_token, name=settings.admin_host)
    return app
