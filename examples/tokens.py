"""Tokens that cost by the model that made them: what a use was, told beside how much.

uvicorn examples.tokens:app
meterline run --config examples/tokens.toml
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware


async def complete(request: Request) -> JSONResponse:
    prompt = (await request.body()).decode().split()
    meterline.set_subject(request.headers["x-account"])  # your authentication knows
    # A small model reads and sums up, a large one answers: two prices in one request.
    meterline.record("tokens", len(prompt), model="small")
    answer = [word.upper() for word in prompt[:3]]
    meterline.record("tokens", len(answer), model="large")
    return JSONResponse({"answer": " ".join(answer)})


app = Starlette(routes=[Route("/complete", complete, methods=["POST"])])
app.add_middleware(MeterMiddleware)
