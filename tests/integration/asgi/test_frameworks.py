"""Route templates, whatever framework is inside."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from litestar.params import FromPath
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router

import meterline
from meterline.asgi_types import ASGIApp, Receive, Scope, Send
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered

Serve = Callable[..., Any]


@pytest.fixture
def serve(sidecar: FakeSidecar, metered: Metered) -> Serve:
    """Return a function that serves paths and returns their events."""

    async def serve_paths(app: ASGIApp, *paths: str, **more: Any) -> list[UsageEvent]:
        metering = metered(app)
        for path in paths:
            await call(metering, path, **more)
        return sidecar.wait_for_events(len(paths))

    return serve_paths


def routes(events: list[UsageEvent]) -> list[str | None]:
    return [event.route for event in events]


async def ok(request: Request) -> Response:
    return PlainTextResponse("ok")


async def other(request: Request) -> Response:
    return PlainTextResponse("other")


# --- Starlette


async def test_starlette_routes_have_their_templates(serve: Serve) -> None:
    app = Starlette(
        routes=[
            Route("/", ok),
            Route("/items/{id:int}", ok),
            Route("/files/{path:path}", other),
        ]
    )

    events = await serve(app, "/", "/items/5", "/files/a/b/c", "/items/x", "/nope")

    assert routes(events) == ["/", "/items/{id}", "/files/{path}", None, None]


async def test_mounts_and_their_parameters_are_part_of_the_template(
    serve: Serve,
) -> None:
    inner = Starlette(routes=[Route("/items/{item_id}", ok)])
    app = Starlette(
        routes=[
            Mount("/plain", routes=[Route("/x", ok)]),
            Mount("/t/{tenant}", routes=[Mount("/deep", app=inner)]),
            Host("{sub}.example.org", app=Router(routes=[Route("/hosted", ok)])),
        ]
    )

    events = await serve(app, "/plain/x", "/t/acme/deep/items/7", "/t/acme/nope")

    assert routes(events) == ["/plain/x", "/t/{tenant}/deep/items/{item_id}", None]


async def test_one_app_mounted_twice_has_two_templates(serve: Serve) -> None:
    inner = Starlette(routes=[Route("/items/{id}", ok), Route("/items", other)])
    app = Starlette(routes=[Mount("/v1", app=inner), Mount("/v2", app=inner)])

    events = await serve(app, "/v2/items/7", "/v1/items/7", "/v2/items")

    assert routes(events) == ["/v2/items/{id}", "/v1/items/{id}", "/v2/items"]


async def test_a_mounted_app_that_hides_its_routes_keeps_the_mounts_template(
    serve: Serve,
) -> None:
    inner = Starlette(routes=[Route("/items/{id}", ok)])

    async def hiding(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    async def no_framework(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("raw")(scope, receive, send)

    app = Starlette(
        routes=[Mount("/h/{tenant}", app=hiding), Mount("/raw", app=no_framework)]
    )

    events = await serve(app, "/h/acme/items/7", "/raw/some/path")

    assert routes(events) == ["/h/{tenant}/items/{id}", "/raw/{path}"]


async def test_a_route_that_is_added_later_is_found(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    app = Starlette(routes=[Route("/first/{a}", ok)])
    metering = metered(app)
    await call(metering, "/first/1")
    app.router.routes.append(Route("/second/{b}", ok))
    await call(metering, "/second/1")

    assert routes(sidecar.wait_for_events(2)) == ["/first/{a}", "/second/{b}"]


async def test_behind_a_root_path_the_template_is_the_apps_own(serve: Serve) -> None:
    inner = Starlette(routes=[Route("/items/{id}", ok)])
    app = Starlette(routes=[Mount("/v1", app=inner), Mount("/v2", app=inner)])

    events = await serve(app, "/api/v2/items/7", root_path="/api")

    assert routes(events) == ["/v2/items/{id}"]


async def test_the_slash_redirect_takes_no_route(serve: Serve) -> None:
    events = await serve(Starlette(routes=[Route("/items/", ok)]), "/items")

    assert [(event.status, event.route) for event in events] == [(307, None)]


# --- FastAPI


def fastapi_app() -> FastAPI:
    app = FastAPI()
    items = APIRouter(prefix="/items")

    @items.get("/{item_id}")
    async def item(item_id: int) -> int:
        meterline.record("tokens", item_id)
        return item_id

    nested = APIRouter(prefix="/nested/{tenant}")
    nested.include_router(items)
    app.include_router(items, prefix="/v1")
    app.include_router(nested)

    @app.get("/direct/{name}")
    def direct(name: str) -> str:
        meterline.record("tokens", 1)
        return name

    return app


async def test_fastapi_routes_keep_the_prefixes_of_included_routers(
    serve: Serve,
) -> None:
    paths = ["/direct/x", "/v1/items/5", "/nested/acme/items/6", "/v1/items/x", "/no"]

    events = await serve(fastapi_app(), *paths)

    assert routes(events) == [
        "/direct/{name}",
        "/v1/items/{item_id}",
        "/nested/{tenant}/items/{item_id}",
        "/v1/items/{item_id}",  # 422: the route was taken, its parameter was wrong
        None,
    ]
    assert [event.quantities for event in events[:3]] == [
        {"tokens": 1},
        {"tokens": 5},
        {"tokens": 6},
    ]


async def test_fastapi_mounted_in_fastapi_keeps_both_prefixes(serve: Serve) -> None:
    outer = FastAPI()
    outer.mount("/sub/{tenant}", fastapi_app())

    events = await serve(outer, "/sub/acme/v1/items/5", "/sub/acme/direct/x")

    assert routes(events) == [
        "/sub/{tenant}/v1/items/{item_id}",
        "/sub/{tenant}/direct/{name}",
    ]


async def test_a_wrong_method_on_fastapi_takes_no_route(serve: Serve) -> None:
    events = await serve(fastapi_app(), "/v1/items/5", method="OPTIONS")

    assert [(event.status, event.route) for event in events] == [(405, None)]


# --- Litestar


def litestar_app() -> Litestar:
    @litestar_get("/items/{item_id:int}")
    async def item(item_id: FromPath[int]) -> int:
        meterline.record("tokens", item_id)
        return item_id

    @litestar_get("/")
    async def index() -> str:
        return "hello"

    return Litestar(route_handlers=[item, index], openapi_config=None)


async def test_litestar_routes_have_their_templates(serve: Serve) -> None:
    events = await serve(litestar_app(), "/items/5", "/", "/items/x/y", "/nope")

    assert routes(events) == ["/items/{item_id}", "/", None, None]
    assert events[0].quantities == {"tokens": 5}


async def test_litestar_mounted_in_starlette_keeps_the_prefix(serve: Serve) -> None:
    inner: Any = litestar_app()
    app = Starlette(routes=[Mount("/in/{tenant}", app=inner)])

    events = await serve(app, "/in/acme/items/5")

    assert routes(events) == ["/in/{tenant}/items/{item_id}"]


# --- Quart


def quart_app() -> Quart:
    app = Quart("quart_app")

    @app.get("/items/<int:item_id>")
    async def item(item_id: int) -> str:
        meterline.record("tokens", item_id)
        return str(item_id)

    return app


async def test_quart_routes_have_their_templates(serve: Serve) -> None:
    app: Any = quart_app()

    events = await serve(app, "/items/5", "/items/6", "/items/x", "/nope")

    assert routes(events) == ["/items/<int:item_id>"] * 2 + [None, None]
    assert events[1].quantities == {"tokens": 6}


async def test_quart_wrapped_in_its_own_way_has_its_templates(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    app: Any = quart_app()
    app.asgi_app = metered(app.asgi_app)

    await call(app, "/items/5")

    assert routes(sidecar.wait_for_events(1)) == ["/items/<int:item_id>"]


# --- Django


@pytest.fixture(scope="module")
def django_app() -> Any:
    from django import conf

    from tests.integration.asgi import django_urls

    settings: Any = conf.settings
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=django_urls.__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="only for tests",
            DEBUG=False,
        )
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


async def test_django_routes_have_their_templates(
    serve: Serve, django_app: Any
) -> None:
    paths = ["/items/5/", "/sync/6/", "/nested/acme/x/", "/nope/", "/items/5/"]

    events = await serve(django_app, *paths)

    assert routes(events) == [
        "/items/<int:pk>/",
        "/sync/<int:pk>/",
        "/nested/<slug:tenant>/x/",
        None,
        "/items/<int:pk>/",
    ]
    assert [event.status for event in events] == [200, 200, 200, 404, 200]
    assert events[0].quantities == {"tokens": 5}
    assert events[1].quantities == {"tokens": 6}
    assert events[0].subject == "acct_django"


async def test_a_user_that_a_django_view_has_asked_for_is_the_subject(
    serve: Serve, django_app: Any
) -> None:
    events = await serve(django_app, "/who/7/", "/nobody/8/", "/who/9/")

    assert [event.subject for event in events] == ["7", None, "9"]
    assert [event.flags for event in events] == [0, 0, 0]


# --- no framework


async def test_an_app_without_a_framework_has_no_routes(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("raw")(scope, receive, send)

    assert routes(await serve(app, "/secret/key_123")) == [None]


async def test_a_router_that_breaks_leaves_the_route_out_and_nothing_else(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @property
        def routes(self) -> Any:
            raise LookupError("not what we know")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["router"] = Broken()
        await PlainTextResponse("still fine")(scope, receive, send)

    events = await serve(app, "/it", "/it")

    assert [(event.status, event.route) for event in events] == [(200, None)] * 2
    assert caplog.text.count("could not find a request's route") == 1


def test_no_framework_is_imported_by_the_middleware() -> None:
    code = "import meterline, sys; print(sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    for framework in ("starlette", "fastapi", "litestar", "quart", "django"):
        assert f"'{framework}'" not in modules
