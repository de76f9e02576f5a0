"""Tells open pages that there is something new; they fetch themselves again."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from meterline_sidecar.usage.counted import counted_now
from meterline_sidecar.web.parts import Parts

LOOK_EVERY_S: Final = 1.0
SIGN_OF_LIFE_S: Final = 15.0
STREAMS_MAX: Final = 50
RETRY_MS: Final = 3_000


class Live:
    """The streams of server-sent events that are open."""

    def __init__(self) -> None:
        self._n_open = 0

    async def stream(self, request: Request) -> Response:
        """Answer a stream that says ``changed`` whenever pages would look different."""
        if self._n_open >= STREAMS_MAX:
            raise HTTPException(503, f"there are {STREAMS_MAX} open pages already")
        return StreamingResponse(
            self._messages(request.app.state.parts),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def _messages(self, parts: Parts) -> AsyncGenerator[bytes]:
        self._n_open += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            before = await _mark(parts)
            silent_s = 0.0
            while not await _is_stopping(parts, LOOK_EVERY_S):
                mark = await _mark(parts)
                if mark != before:
                    before, silent_s = mark, 0.0
                    yield b"event: changed\ndata: 1\n\n"
                    continue
                silent_s += LOOK_EVERY_S
                if silent_s >= SIGN_OF_LIFE_S:
                    silent_s = 0.0
                    # No comment: scripts would not see it, and silence has to mean
                    # that nobody is here.
                    yield b"event: alive\ndata: 1\n\n"
        finally:
            self._n_open -= 1


async def _mark(parts: Parts) -> tuple[object, ...]:
    """Return something that differs whenever the pages would."""
    at = await counted_now(parts.database)
    failures = sum(job.failures for job in parts.schedule.jobs.values())
    return (
        *(at.generation, at.up_to_event, parts.receiver.connections),
        *(parts.ingest.trouble, failures, parts.standings.n_missing),
        *parts.closer.mark,
    )


async def _is_stopping(parts: Parts, wait_s: float) -> bool:
    """Wait so long, or until the process is about to end; return whether it is."""
    try:
        await asyncio.wait_for(parts.stopping.wait(), wait_s)
    except TimeoutError:
        return False
    return True


def route() -> Route:
    """Return the route of the streams."""
    return Route("/live", Live().stream)
