"""The smallest metered app: one line makes every request a usage event.

uvicorn examples.quickstart:app
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware


async def greet(request: Request) -> JSONResponse:
    name = request.path_params["name"]
    meterline.set_subject(f"acct_{name}")  # who pays; your authentication knows
    meterline.record("characters", len(name))  # how much, besides "one request"
    return JSONResponse({"hello": name})


app = Starlette(routes=[Route("/hello/{name}", greet)])
app.add_middleware(MeterMiddleware)
