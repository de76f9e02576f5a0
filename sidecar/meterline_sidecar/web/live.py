"""Tells open pages that there is something new; they fetch themselves again."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from meterline_sidecar.usage.counted import counted_now
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.mark import mark_of

LOOK_EVERY_S: Final = 1.0
SIGN_OF_LIFE_S: Final = 15.0
STREAMS_MAX: Final = 50
RETRY_MS: Final = 3_000


class Live:
    """The streams of server-sent events that are open."""

    def __init__(self) -> None:
        self._n_open = 0

    async def stream(self, request: Request) -> Response:
        """Answer a stream that says ``changed`` whenever pages would look different.

        ``mark`` is that of the page that listens: it may be older than the stream.
        """
        if self._n_open >= STREAMS_MAX:
            raise HTTPException(503, f"there are {STREAMS_MAX} open pages already")
        return StreamingResponse(
            self._messages(request.app.state.parts, request.query_params.get("mark")),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def _messages(self, parts: Parts, shown: str | None) -> AsyncGenerator[bytes]:
        self._n_open += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            before = shown or mark_of(parts, await counted_now(parts.database))
            silent_s = 0.0
            while not parts.stopping.is_set():
                mark = mark_of(parts, await counted_now(parts.database))
                if mark != before:
                    before, silent_s = mark, 0.0
                    yield b"event: changed\ndata: 1\n\n"
                elif silent_s >= SIGN_OF_LIFE_S:
                    silent_s = 0.0
                    # No comment: scripts would not see it, and silence has to mean
                    # that nobody is here.
                    yield b"event: alive\ndata: 1\n\n"
                silent_s += LOOK_EVERY_S
                await _wait(parts, LOOK_EVERY_S)
        finally:
            self._n_open -= 1


async def _wait(parts: Parts, wait_s: float) -> None:
    """Wait so long, or until the process is about to end."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(parts.stopping.wait(), wait_s)


def route() -> Route:
    """Return the route of the streams."""
    return Route("/live", Live().stream)
