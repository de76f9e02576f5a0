"""An app that streams what a language model answers, for tests that kill its worker."""

from collections.abc import AsyncIterator

import anthropic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import meterline.llm
from meterline import MeterMiddleware

client = anthropic.AsyncAnthropic()


async def chat(request: Request) -> Response:
    meterline.set_subject("acme_1")
    stream = meterline.llm.metered(
        await client.messages.create(
            model=request.query_params["model"],
            max_tokens=1000,
            messages=[{"role": "user", "content": "PRIVATE"}],
            stream=True,
        )
    )

    async def answer() -> AsyncIterator[str]:
        async for event in stream:
            if event.type == "content_block_delta":
                yield "word\n"

    return StreamingResponse(answer(), media_type="text/plain")


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
app.add_middleware(MeterMiddleware)
