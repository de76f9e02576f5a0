"""One small metered app for each framework: a use, a stream, an error.

A server loads ``tests.compat.apps:app``; ``COMPAT_APP`` says which one that is. Only
one framework is installed at a time, so none is imported by name.
"""

import importlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import meterline
import meterline.wsgi

PIECE: Final = "word "
PIECES: Final = 3


def use(n: int) -> str:
    """Record what a handler uses, and who pays."""
    meterline.set_subject("acme")
    meterline.record("tokens", n)
    return "ok"


async def pieces() -> AsyncIterator[str]:
    """Yield a stream whose every piece is paid for."""
    for _ in range(PIECES):
        meterline.record("tokens", 1)
        yield PIECE


def pieces_in_turn() -> Iterator[str]:
    """Do the same in an app that is not async."""
    for _ in range(PIECES):
        meterline.record("tokens", 1)
        yield PIECE


def _module(name: str) -> Any:
    return importlib.import_module(name)


def starlette(more: tuple[Any, ...] = ()) -> Any:
    responses, routing = _module("starlette.responses"), _module("starlette.routing")

    async def used(request: Any) -> Any:
        return responses.PlainTextResponse(use(int(request.path_params["n"])))

    async def stream(request: Any) -> Any:
        use(0)
        return responses.StreamingResponse(pieces())

    async def fails(request: Any) -> Any:
        raise ZeroDivisionError(use(0))

    routes = [
        routing.Route("/use/{n}", used),
        routing.Route("/stream", stream),
        routing.Route("/fails", fails),
        *more,
    ]
    return _module("starlette.applications").Starlette(routes=routes)


def strawberry() -> Any:
    library: Any = _module("strawberry")

    def field(self: Any) -> str:
        return use(5)

    query = type("Query", (), {"use": library.field(field)})
    schema = library.Schema(query=library.type(query))
    graphql = _module("strawberry.asgi").GraphQL(schema)
    return starlette((_module("starlette.routing").Mount("/graphql", graphql),))


def fastapi() -> Any:
    app = _module("fastapi").FastAPI()
    responses = _module("fastapi.responses")

    async def used(n: int) -> str:
        return use(n)

    async def stream() -> Any:
        use(0)
        return responses.StreamingResponse(pieces())

    def fails() -> None:
        raise ZeroDivisionError(use(0))

    app.get("/use/{n}")(used)
    app.get("/stream", response_model=None)(stream)
    app.get("/fails")(fails)
    return app


def litestar() -> Any:
    library: Any = _module("litestar")
    streams: Any = _module("litestar.response").Stream

    async def used(n: int) -> str:
        return use(n)

    async def stream() -> Any:
        use(0)
        return streams(pieces)

    stream.__annotations__["return"] = streams  # Litestar goes by it

    async def fails() -> str:
        raise ZeroDivisionError(use(0))

    return library.Litestar(
        [
            library.get("/use/{n:int}")(used),
            library.get("/stream")(stream),
            library.get("/fails")(fails),
        ]
    )


def quart() -> Any:
    app = _module("quart").Quart(__name__)

    async def used(n: int) -> str:
        return use(n)

    async def stream() -> Any:
        use(0)
        return pieces()

    async def fails() -> str:
        raise ZeroDivisionError(use(0))

    app.get("/use/<int:n>")(used)
    app.get("/stream")(stream)
    app.get("/fails")(fails)
    return app


def flask() -> Any:
    app = _module("flask").Flask(__name__)

    def used(n: int) -> str:
        return use(n)

    def stream() -> Any:
        use(0)
        return pieces_in_turn()

    def fails() -> str:
        raise ZeroDivisionError(use(0))

    app.get("/use/<int:n>")(used)
    app.get("/stream")(stream)
    app.get("/fails")(fails)
    return app


def sanic() -> Any:
    app = _module("sanic").Sanic("compat")
    text = _module("sanic.response").text

    async def used(request: Any, n: int) -> Any:
        return text(use(n))

    async def stream(request: Any) -> None:
        use(0)
        response = await request.respond(content_type="text/plain")
        async for piece in pieces():
            await response.send(piece)

    async def fails(request: Any) -> Any:
        raise ZeroDivisionError(use(0))

    app.add_route(used, "/use/<n:int>")
    app.add_route(stream, "/stream")
    app.add_route(fails, "/fails")
    return app


def blacksheep() -> Any:
    library: Any = _module("blacksheep")
    app = library.Application()

    async def used(n: int) -> Any:
        return library.text(use(n))

    async def parts() -> AsyncIterator[bytes]:
        async for piece in pieces():
            yield piece.encode()

    async def stream() -> Any:
        use(0)
        return library.Response(
            200, content=library.StreamedContent(b"text/plain", parts)
        )

    async def fails() -> Any:
        raise ZeroDivisionError(use(0))

    app.router.add_get("/use/{n}", used)
    app.router.add_get("/stream", stream)
    app.router.add_get("/fails", fails)
    return app


def _django(streamed: Callable[[], object]) -> None:
    settings: Any = _module("django.conf").settings
    http, path = _module("django.http"), _module("django.urls").path

    def used(request: Any, n: int) -> Any:
        return http.HttpResponse(use(n))

    def stream(request: Any) -> Any:
        use(0)
        return http.StreamingHttpResponse(streamed())

    def fails(request: Any) -> Any:
        raise ZeroDivisionError(use(0))

    urls = (path("use/<int:n>", used), path("stream", stream), path("fails", fails))
    settings.configure(
        ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="only for tests"
    )


def django() -> Any:
    _django(pieces)
    return _module("django.core.asgi").get_asgi_application()


def django_wsgi() -> Any:
    _django(pieces_in_turn)
    return _module("django.core.wsgi").get_wsgi_application()


def _metered(name: str) -> Any:
    made = globals()[name]()
    if name in WSGI:
        return meterline.wsgi.MeterMiddleware(made)
    return meterline.MeterMiddleware(made)


WSGI: Final = ("flask", "django_wsgi")
app: Final = _metered(os.environ["COMPAT_APP"]) if "COMPAT_APP" in os.environ else None
