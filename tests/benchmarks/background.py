"""The plain way: a FastAPI endpoint whose BackgroundTasks forward with httpx.AsyncClient; nothing is kept."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Request

TARGET = os.environ["BENCH_TARGET"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Share one client, with the limits it comes with, among all requests, as httpx's documents advise."""
    async with httpx.AsyncClient() as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


def shared_client(request: Request) -> httpx.AsyncClient:
    """Give the application's client."""
    client: httpx.AsyncClient = request.app.state.client
    return client


async def forward(client: httpx.AsyncClient, body: bytes) -> None:
    """Post the body on."""
    await client.post(TARGET, content=body, headers={"Content-Type": "application/json"})


@app.post("/hooks/{source}", status_code=202)
async def hook(
    source: str,
    request: Request,
    tasks: BackgroundTasks,
    client: Annotated[httpx.AsyncClient, Depends(shared_client)],
) -> dict[str, str]:
    """Answer at once, and forward afterwards."""
    tasks.add_task(forward, client, await request.body())
    return {"source": source}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]))
