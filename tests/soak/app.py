"""The metered app of the soak: each path records in another way.

Around the middleware stands ``Noted``, which notes what is to be recorded before it is,
and that it is recorded once the middleware has returned.
"""

import asyncio
import os
import random
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

import meterline
from meterline import Meter, MeterMiddleware, from_trusted_header
from tests.soak.book import HEADER, THREAD_SUBJECT
from tests.soak.notes import Notes

NUMBER: Final = "soak.number"
UNITS: Final = "soak.units"
OPEN: Final = ("/stream", "/socket")
"""Paths whose units come while they are open, each for a subject of its own."""
UNITS_MAX: Final = 9
CHUNK_S: Final = 0.25

THREAD_PAUSE_S: Final = 0.2

notes: Final = Notes(
    Path(os.environ["METERLINE_SOAK_NOTES"]), app=os.environ["METERLINE_APP"]
)
pool: Final = ThreadPoolExecutor(2)


async def call(request: Request) -> Response:
    """Record in the handler."""
    meterline.record("n", request.scope[NUMBER])
    meterline.record("w", request.scope[UNITS])
    return PlainTextResponse("called")


async def thread(request: Request) -> Response:
    """Record in another thread, which has no context, by a handle."""
    event = meterline.current()
    meterline.record("n", request.scope[NUMBER])
    future = pool.submit(event.record, "w", request.scope[UNITS])
    await asyncio.wrap_future(future)
    return PlainTextResponse("from a thread")


async def later(request: Request) -> Response:
    """Record once more after the response, by a handle: a use of its own."""
    event = meterline.current()
    meterline.record("n", request.scope[NUMBER])
    meterline.record("w", request.scope[UNITS])
    number = notes.begin(request.headers[HEADER])

    def use() -> None:
        event.record("n", number)
        notes.end(number)

    return PlainTextResponse("and more later", background=BackgroundTask(use))


async def stream(request: Request) -> Response:
    """Record with each chunk of a response that takes its time."""
    meterline.record("n", request.scope[NUMBER])

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(int(request.query_params["chunks"])):
            _record_units(request.scope)
            yield b"x" * 100
            await asyncio.sleep(CHUNK_S)

    return StreamingResponse(chunks())


async def socket(websocket: WebSocket) -> None:
    """Record with each message."""
    await websocket.accept()
    meterline.record("n", websocket.scope[NUMBER])
    try:
        while True:
            text = await websocket.receive_text()
            _record_units(websocket.scope)
            await websocket.send_text(text)
    except WebSocketDisconnect:
        pass


def _record_units(scope: Scope) -> None:
    units = random.randint(1, UNITS_MAX)
    notes.units(scope[NUMBER], units)
    meterline.record("w", units)


class Noted:
    """Notes what each request is about to record, and when all of it is recorded."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with a number and units to record."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        subject = dict(scope["headers"])[HEADER.encode()].decode()
        units = 0 if scope["path"] in OPEN else random.randint(1, UNITS_MAX)
        number = notes.begin(subject, units=units, is_call=True)
        scope[NUMBER], scope[UNITS] = number, units
        try:
            await self._app(scope, receive, send)
        finally:
            notes.end(number)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
    """Have a thread record uses of its own while the app runs."""
    is_over = threading.Event()

    def work() -> None:
        meter = Meter()
        while not is_over.wait(THREAD_PAUSE_S):
            number = notes.begin(THREAD_SUBJECT)
            meter.record("n", number, subject=THREAD_SUBJECT)
            notes.end(number)

    worker = threading.Thread(target=work)
    worker.start()
    yield
    is_over.set()
    worker.join()


_inner: Final = Starlette(
    routes=[
        Route("/call", call),
        Route("/thread", thread),
        Route("/later", later),
        Route("/stream", stream),
        WebSocketRoute("/socket", socket),
    ],
    lifespan=lifespan,
)
app: Final = Noted(MeterMiddleware(_inner, subject=from_trusted_header(HEADER)))
