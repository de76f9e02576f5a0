"""Two metered apps, and a worker process that serves one of them.

    python -m tests.metered_app fastapi acct_1=1000 -=20

Each request is of the subject named, ``-`` for none; ``broken_NAME`` gets a 503.
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import fastapi
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Scope

import meterline
from meterline import MeterMiddleware, from_trusted_header
from meterline_sidecar.demo.worker import request, serve

HEADER: Final = "x-account"
NOBODY: Final = "-"


def starlette_app() -> ASGIApp:
    """Return a Starlette app with a mounted part, metered by the one line."""

    async def item(request: Request) -> JSONResponse:
        meterline.record("tokens", 3)
        status = 503 if request.headers.get(HEADER, "").startswith("broken_") else 200
        return JSONResponse({"item": request.path_params["item"]}, status)

    app = Starlette(routes=[Mount("/v1", routes=[Route("/items/{item}", item)])])
    app.add_middleware(MeterMiddleware, subject=from_trusted_header(HEADER))
    return app


def fastapi_app() -> ASGIApp:
    """Return a FastAPI app with an included router, metered by the one line."""
    router = fastapi.APIRouter(prefix="/v1")

    async def item(item: str) -> dict[str, str]:
        meterline.record("tokens", 3)
        return {"item": item}

    router.get("/items/{item}")(item)
    app = fastapi.FastAPI()
    app.include_router(router)
    app.add_middleware(MeterMiddleware, subject=from_trusted_header(HEADER))
    return app


APPS: Final = {"starlette": starlette_app, "fastapi": fastapi_app}


def requests_of(counts: Mapping[str, int]) -> Iterator[Scope]:
    """Yield so many requests of each subject."""
    for subject, n_requests in counts.items():
        headers = [] if subject == NOBODY else [(HEADER, subject)]
        for i in range(n_requests):
            yield request("GET", f"/v1/items/{i % 500}", *headers)


def main() -> None:
    name, *pairs = sys.argv[1:]
    counts = {
        subject: int(n) for subject, _, n in (pair.rpartition("=") for pair in pairs)
    }
    asyncio.run(serve(APPS[name](), requests_of(counts)))


if __name__ == "__main__":
    main()
