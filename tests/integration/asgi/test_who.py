"""Who used it, as frameworks authenticate: by their own means, with no resolver said."""

from typing import Annotated, Any, cast

import litestar
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPBearer
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import meterline
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered

KEY = [("authorization", "Bearer ada")]


class Backend(AuthenticationBackend):
    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, BaseUser]:
        name = conn.headers.get("authorization", "").partition(" ")[2]
        user = SimpleUser(name) if name else UnauthenticatedUser()
        return AuthCredentials(), user


async def test_starlettes_user(metered: Metered, sidecar: FakeSidecar) -> None:
    async def ok(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse("ok")

    app = metered(
        Starlette(
            routes=[Route("/", ok)],
            middleware=[Middleware(AuthenticationMiddleware, backend=Backend())],
        )
    )
    await call(app, "/", headers=KEY)
    await call(app, "/")

    assert [event.subject for event in sidecar.wait_for_events(2)] == ["ada", None]


async def test_a_dependency_of_fastapi(metered: Metered, sidecar: FakeSidecar) -> None:
    scheme = HTTPBearer(auto_error=False)

    async def account(request: Request, token: Annotated[Any, Depends(scheme)]) -> None:
        if token is not None:
            meterline.set_subject(token.credentials)

    def in_a_thread(request: Request, token: Annotated[Any, Depends(scheme)]) -> None:
        if token is not None:
            request.state.user = {"id": token.credentials}

    app = FastAPI()

    def ok() -> str:
        return "ok"

    app.get("/set", dependencies=[Depends(account)])(ok)
    app.get("/state", dependencies=[Depends(in_a_thread)])(ok)
    app = cast("Any", metered(app))
    for path in ("/set", "/state"):
        await call(app, path, headers=KEY)
        await call(app, path)

    subjects = [event.subject for event in sidecar.wait_for_events(4)]
    assert subjects == ["ada", None, "ada", None]


class Login(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection: Any) -> AuthenticationResult:
        name = connection.headers.get("authorization", "").partition(" ")[2]
        return AuthenticationResult(user={"id": name} if name else None, auth=None)


async def test_litestars_user(metered: Metered, sidecar: FakeSidecar) -> None:
    async def ok() -> str:
        return "ok"

    app = metered(litestar.Litestar([litestar.get("/")(ok)], middleware=[Login]))
    await call(app, "/", headers=KEY)
    await call(app, "/")

    assert [event.subject for event in sidecar.wait_for_events(2)] == ["ada", None]
