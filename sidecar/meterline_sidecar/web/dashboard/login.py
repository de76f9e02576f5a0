"""Where a person gives the browser a token, once."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.web.guard import COOKIE, forget_token
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.render import render

KEPT_S = 12 * 3600


async def form(request: Request) -> Response:
    """Answer the form."""
    return _form(request, failed="")


async def login(request: Request) -> Response:
    """Keep a good token in a cookie that no script can read."""
    parts: Parts = request.app.state.parts
    given = parse_qs((await request.body()).decode("ascii", "replace"))
    text = given.get("token", [""])[0].strip()
    token = parts.tokens.find(text)
    if token is None:
        return _form(request, failed="This token is unknown or was revoked.")
    if not token.allows("read"):
        return _form(
            request, failed="This token cannot read; create one with the scope read."
        )
    response = RedirectResponse(_target(request), 303)
    response.set_cookie(
        COOKIE,
        text,
        max_age=KEPT_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def logout(_request: Request) -> Response:
    """Forget the token."""
    return forget_token(RedirectResponse("/login", 303))


def _form(request: Request, *, failed: str) -> Response:
    context = {"failed": failed, "target": _target(request)}
    return render(request, "login.html", context, status=401 if failed else 200)


def _target(request: Request) -> str:
    """Return where to go on: a path of ours, never another site."""
    path = request.query_params.get("next", "/")
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_ours and path.isprintable() else "/"
