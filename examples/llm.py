"""A chat that streams what a language model answers, billed by model and kind of token.

pip install openai '.[sidecar,llm]'
export OPENAI_API_KEY=...
uvicorn examples.llm:app
meterline run --config examples/llm.toml
"""

from collections.abc import AsyncIterator

from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import meterline.llm
from meterline import MeterMiddleware

client = AsyncOpenAI()


async def chat(request: Request) -> Response:
    meterline.set_subject(request.headers["x-account"])  # your authentication knows
    question = (await request.body()).decode()
    stream = await client.chat.completions.create(
        model=request.query_params.get("model", "gpt-5-mini"),
        messages=[{"role": "user", "content": question}],
        stream=True,
        stream_options={"include_usage": True},  # else OpenAI does not say how many
    )
    stream = meterline.llm.metered(stream)  # the one line

    async def answer() -> AsyncIterator[str]:
        async for chunk in stream:
            # All chunks, also those without words: the last one has the tokens.
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""

    return StreamingResponse(answer(), media_type="text/plain")


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
app.add_middleware(MeterMiddleware)
