"""An API that sells tokens: API keys, streams, and a link to the customer's page.

    export METERLINE_SUBJECT_KEY=$(openssl rand -hex 32)  # never change it
    export METERLINE_PORTAL_KEY=/var/lib/meterline/meterline.db.portal-key  # a file
    uvicorn examples.streaming:app

Who pays is the API key. It is never stored, only its keyed digest is: what stands in
``meterline.toml`` as a subject is ``meterline.api_key_subject(api_key)``.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware, from_api_key, portal_token, read_portal_key

CUSTOMERS = {"Bearer sk-acme": "acme", "Bearer sk-globex": "globex"}  # your accounts
PORTAL = "http://127.0.0.1:8270/portal"


async def complete(request: Request) -> Response:
    """Answer with the prompt's words in capitals, as a stream of "tokens"."""
    if request.headers.get("authorization") not in CUSTOMERS:
        return PlainTextResponse("unknown API key", status_code=401)
    words = (await request.body()).decode().split()
    meterline.record("tokens_in", len(words))

    async def answer() -> AsyncIterator[str]:
        for word in words:
            # One by one: a client who hangs up pays only for what was sent.
            meterline.record("tokens_out", 1)
            yield word.upper() + " "

    return StreamingResponse(answer(), media_type="text/plain")


async def usage(request: Request) -> Response:
    """Send customers to their own usage, with a link that lasts a quarter of an hour."""
    customer = CUSTOMERS.get(request.headers.get("authorization", ""))
    if customer is None:
        return PlainTextResponse("unknown API key", status_code=401)
    key = read_portal_key(Path(os.environ["METERLINE_PORTAL_KEY"]))
    token = portal_token(customer, key=key, ttl_s=900)
    return RedirectResponse(f"{PORTAL}?token={token}")


app = Starlette(
    routes=[Route("/complete", complete, methods=["POST"]), Route("/usage", usage)]
)
app.add_middleware(MeterMiddleware, subject=from_api_key())
