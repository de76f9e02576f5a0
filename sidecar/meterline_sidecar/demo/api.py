"""The metered API of the demo: an ordinary Starlette app, and the one line.

Any ASGI server can serve it: ``uvicorn meterline_sidecar.demo.api:app``.
"""

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import meterline
from meterline import MeterMiddleware, from_state

ACCOUNTS: Final = {
    b"acme-secret": "acme_web",
    b"globex-secret": "globex_backend",
    b"initech-secret": "initech_batch",
}
"""Which account an API key opens."""


class Authenticate:
    """Puts the account of the request's ``X-Api-Key`` into its state, or answers 401.

    An ASGI class like this, or a dependency, or a proxy: whatever the API has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass if its key is known."""
        if scope["type"] == "http":
            account = ACCOUNTS.get(dict(scope["headers"]).get(b"x-api-key", b""))
            if account is None:
                await JSONResponse({"error": "who is it?"}, 401)(scope, receive, send)
                return
            scope.setdefault("state", {})["account"] = account
        await self._app(scope, receive, send)


async def read_item(request: Request) -> JSONResponse:
    """Answer an item."""
    return JSONResponse({"item": request.path_params["item"]})


async def complete(_request: Request) -> JSONResponse:
    """Answer a completion, which is billed by the token."""
    meterline.record("tokens", 512)
    return JSONResponse({"text": "..."})


app = Starlette(
    routes=[
        Route("/v1/items/{item}", read_item),
        Route("/v1/complete", complete, methods=["POST"]),
    ]
)
app.add_middleware(Authenticate)
app.add_middleware(MeterMiddleware, subject=from_state("account"))
