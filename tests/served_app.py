"""An app for tests with real servers; configured by ``METERLINE_*`` variables."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware
from tests.asgi_driver import call


async def hello(request: Request) -> Response:
    meterline.record("pid", os.getpid())
    return PlainTextResponse("hello")


async def read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def leave(request: Request) -> Response:
    return PlainTextResponse("not read", status_code=413)


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            await asyncio.sleep(0.001)
            yield b"x" * 1000

    return StreamingResponse(chunks())


app: Final = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/read", read, methods=["POST"]),
        Route("/leave", leave, methods=["POST"]),
        Route("/stream", stream),
    ]
)
app.add_middleware(MeterMiddleware)

if os.environ.get("SERVE_ONCE_AT_IMPORT"):  # so that a server forks after first use
    asyncio.run(call(app, "/hello"))
