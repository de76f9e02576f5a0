"""What must hold on every version from Starlette 0.40 and FastAPI 0.115 on.

Imports nothing but the framework, the middleware and the helpers of these tests.
"""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

import meterline
from meterline import MeterMiddleware
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call, http_scope
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered


async def ok(request: Request) -> Response:
    meterline.record("n", 1)
    return PlainTextResponse("ok")


def in_a_thread(request: Request) -> Response:
    meterline.record("n", 2)
    return PlainTextResponse("ok")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def add_nothing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def starlette_app(tmp_path: Any) -> Starlette:
    inner = Starlette(
        routes=[Route("/items/{id}", ok), Route("/items", in_a_thread)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=add_nothing)],
    )
    (tmp_path / "file.txt").write_text("static")
    return Starlette(
        routes=[
            Route("/", ok),
            Route("/same/{a}", ok, methods=["GET"]),
            Route("/same/{a}", ok, methods=["POST"]),
            Mount("/v1", app=inner),
            Mount("/v2", app=inner),
            Mount("/t/{tenant}", routes=[Route("/x/{y:int}", in_a_thread)]),
            Mount("/static", app=StaticFiles(directory=tmp_path)),
            WebSocketRoute("/ws/{room}", socket),
        ]
    )


EXPECTED = {
    "/": (200, "/"),
    "/same/1": (200, "/same/{a}"),
    "/v1/items/5": (200, "/v1/items/{id}"),
    "/v2/items/5": (200, "/v2/items/{id}"),
    "/v2/items": (200, "/v2/items"),
    "/t/acme/x/5": (200, "/t/{tenant}/x/{y}"),
    "/static/file.txt": (200, "/static/{path}"),
    "/nope": (404, None),
    "/v1/nope": (404, None),
    "/t/acme/x/five": (404, None),
}


@pytest.mark.parametrize("is_inside", [False, True])
async def test_starlette(
    metered: Metered, sidecar: FakeSidecar, tmp_path: Any, is_inside: bool
) -> None:
    app: Any = starlette_app(tmp_path)
    if is_inside:
        where = {"socket": sidecar.path, "spool_dir": tmp_path / "spool"}
        app.add_middleware(MeterMiddleware, **where)
    else:
        app = metered(app)

    for path in EXPECTED:
        await call(app, path)
    events = sidecar.wait_for_events(len(EXPECTED))

    found = {p: (e.status, e.route) for p, e in zip(EXPECTED, events, strict=True)}
    assert found == EXPECTED
    assert [event.quantities for event in events[:6]] == [
        *[{"n": 1}] * 4,
        *[{"n": 2}] * 2,
    ]


async def test_starlette_refuses_a_wrong_method_without_a_route(
    metered: Metered, sidecar: FakeSidecar, tmp_path: Any
) -> None:
    await call(metered(starlette_app(tmp_path)), "/same/1", method="DELETE")

    assert _routes(sidecar.wait_for_events(1)) == [(405, None)]


async def test_a_starlette_websocket(
    metered: Metered, sidecar: FakeSidecar, tmp_path: Any
) -> None:
    messages = [{"type": "websocket.connect"}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        pass

    scope = http_scope("/ws/7", type="websocket", subprotocols=[])
    await metered(starlette_app(tmp_path))(scope, receive, send)

    assert _routes(sidecar.wait_for_events(1)) == [(101, "/ws/{room}")]


async def test_fastapi(metered: Metered, sidecar: FakeSidecar) -> None:
    fastapi: Any = pytest.importorskip("fastapi")
    items = fastapi.APIRouter(prefix="/items")

    async def item(item_id: int) -> int:
        return item_id

    items.get("/{item_id}")(item)
    nested = fastapi.APIRouter(prefix="/nested/{tenant}")
    nested.include_router(items)
    inner = fastapi.FastAPI()
    inner.include_router(items, prefix="/v1")
    app = fastapi.FastAPI()
    app.include_router(items, prefix="/v1")
    app.include_router(nested)
    app.mount("/sub/{name}", inner)
    app.get("/direct/{item_id}")(item)
    expected = {
        "/v1/items/5": "/v1/items/{item_id}",
        "/nested/acme/items/5": "/nested/{tenant}/items/{item_id}",
        "/sub/x/v1/items/5": "/sub/{name}/v1/items/{item_id}",
        "/direct/5": "/direct/{item_id}",
        "/v1/nope": None,
    }

    metering = metered(app)
    for path in expected:
        await call(metering, path)

    events = sidecar.wait_for_events(len(expected))
    assert [event.route for event in events] == list(expected.values())


def _routes(events: list[UsageEvent]) -> list[tuple[int, str | None]]:
    return [(event.status, event.route) for event in events]
