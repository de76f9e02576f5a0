"""Who gets in: every HTTP request passes here before anything else sees it.

Every answer passes here, too, the one that reports a bug of ours included.

What is checked, in this order: the host (against DNS rebinding), the size, the token,
the rate, the origin of a change (against a foreign page's form), and the right. Whoever
has a token is known by it, and is not slowed down by what others do from the same
address. What nobody thought of is refused: a path that is not named here needs
``read``, a change ``write``.
"""

import asyncio
from collections.abc import Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from meterline_sidecar.access.tokens import Scope, Token, TokenFile
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.web.answers.problem import Problem
from meterline_sidecar.web.clients import Clients, OpenRequests, Rates, is_address
from meterline_sidecar.web.neighbours import Neighbours
from meterline_sidecar.web.problems import problem
from meterline_sidecar.web.rights import (
    SAFE_METHODS,
    body_bytes_max,
    is_portal,
    needed_scope,
)
from meterline_sidecar.web.target import in_origin_form

HEADER_BYTES_MAX: Final = 16 << 10
DIGITS_MAX: Final = 18  # of a length: Python refuses to read thousands of them
OPEN_MAX: Final = 256  # requests that are being answered
CLIENT_OPEN_MAX: Final = 64  # of one client; a page may hold one open
FAILURES_PER_S: Final = 0.2  # wrong tokens of one client, after a burst of ten
FAILURES_BURST: Final = 10
COOKIE: Final = "meterline_token"
LOCAL_NAMES: Final = frozenset(("localhost", "meterline"))  # `meterline` for unix:
PROBES: Final = frozenset(("/livez", "/readyz"))
LOGGED_OUT: Final = (
    "you are logged out, so this was not carried out: log in in another tab, then"
    " reload this page, and let your browser send it again when it asks"
)
UNKNOWN: Final = "this token is unknown or was revoked"
NO_BEARER: Final = "there is no token in this: send it as Authorization: Bearer TOKEN"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'"
)
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": a browser then sends ``Origin: null`` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Caller(NamedTuple):
    """Who sent a request, as far as it says."""

    address: str
    given: str | None
    """The text of the token that came with it."""
    token: Token | None
    """``None`` where there is no such token."""
    is_checked: bool = True
    """Whether the tokens could be read."""
    needs_token: bool = True
    """Whether nothing is told without one."""

    @property
    def name(self) -> str:
        """By whom its rate is counted."""
        return self.address if self.token is None else f"token {self.token.id}"


class Limits(NamedTuple):
    """What one client may do."""

    requests_per_s: int
    burst: int


class Guard:
    """ASGI middleware around the whole HTTP side.

    Args:
        names: host names that requests may carry besides ``localhost`` and addresses;
            a rebinding attack needs a name of its own.
        needs_token: whether a request without a token is refused.
        neighbours: where it is not, those processes of this machine that are let in;
            ``None`` for all that can connect.
        clients: tells them apart.
        frame_origins: origins that may embed the customer's page.
        refused_page: makes the page on which a person reads why, from the status, the
            words of the problem and the path; programs get the problem itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: TokenFile,
        needs_token: bool,
        neighbours: Neighbours | None,
        names: Iterable[str],
        clients: Clients,
        frame_origins: Iterable[str],
        limits: Limits,
        refused_page: Callable[[int, str, str], str],
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._needs_token = needs_token
        self._neighbours = neighbours
        self._names = LOCAL_NAMES | {name.lower() for name in names}
        self._clients = clients
        self._frame_ancestors = " ".join(frame_origins) or "'none'"
        self._requests = Rates(limits.requests_per_s, limits.burst)
        self._failures = Rates(FAILURES_PER_S, FAILURES_BURST)
        self._open = OpenRequests(all_max=OPEN_MAX, client_max=CLIENT_OPEN_MAX)
        self._refused_page = refused_page

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on; its answer gets the security headers."""
        if scope["type"] != "http":
            return
        scope = in_origin_form(scope)
        path: str = scope["path"]
        send = self._with_headers(send, path)
        headers = Headers(scope=scope)
        if self._clients.is_https(scope, headers):
            scope["scheme"] = "https"  # or a cookie would be sent in the clear
        caller = await self._caller(scope, headers)
        is_probe = _is_probe(scope)  # answered whatever else goes on
        refusal = self._refusal(scope, headers, caller, is_probe=is_probe)
        is_open = refusal is None and not is_probe and self._open.enter(caller.name)
        if refusal is None and not is_open and not is_probe:
            refusal = _busy()
        try:
            if refusal is None:
                bytes_max = body_bytes_max(scope["method"], path)
                await self._app(scope, _limited(receive, bytes_max), send)
                return
            if takes_pages(headers):
                refusal = self._for_people(refusal, scope, headers)
            await refusal(scope, receive, send)
        finally:
            if is_open:
                self._open.leave(caller.name)

    async def _caller(self, scope: AsgiScope, headers: Headers) -> Caller:
        given, token, is_checked = _token_text(headers), None, True
        try:
            token = None if given is None else self._tokens.find(given)
        except ConfigError:
            is_checked = False
        needs_token = self._needs_token
        if token is None and not needs_token and self._neighbours is not None:
            needs_token = not await self._neighbours.has_own(scope)
        address = self._clients.address_of(scope, headers)
        return Caller(address, given, token, is_checked, needs_token)

    def _refusal(
        self, scope: AsgiScope, headers: Headers, caller: Caller, *, is_probe: bool
    ) -> Response | None:
        """Return why this request is not answered, or ``None``."""
        if not self._knows_host(headers.getlist("host")):
            return problem(
                421,
                "unknown host name: use localhost or an IP address, or add the name to "
                "sidecar.http_names",
            )
        if sum(len(name) + len(value) for name, value in headers.raw) > (
            HEADER_BYTES_MAX
        ):
            return problem(431, f"headers have at most {HEADER_BYTES_MAX} bytes")
        length = headers.get("content-length", "0")
        is_number = length.isascii() and length.isdigit()
        bytes_max = body_bytes_max(scope["method"], scope["path"])
        if not is_number or len(length) > DIGITS_MAX or int(length) > bytes_max:
            return problem(413, _too_long(bytes_max))
        if is_probe:
            return None
        now_s = asyncio.get_running_loop().time()
        wait_s = self._requests.wait_s(caller.name, now_s)
        if wait_s:
            return _too_many(wait_s, "too many requests from this address; slow down")
        is_change = scope["method"] not in SAFE_METHODS
        if is_change and _is_foreign(headers):
            return problem(403, "changes are accepted only from this site's own pages")
        return self._without_right(scope, headers, caller, now_s)

    def _without_right(
        self, scope: AsgiScope, headers: Headers, caller: Caller, now_s: float
    ) -> Response | None:
        needed = needed_scope(scope["method"], scope["path"], scope["query_string"])
        if needed is None:
            return None
        if caller.given is None:
            return self._anonymous(scope, headers) if caller.needs_token else None
        if not caller.is_checked:
            # Fail closed, and say nothing of our files to a stranger.
            return problem(503, "tokens cannot be checked; see the sidecar's log")
        token = caller.token
        if token is None:
            is_cookie = "authorization" not in headers
            if not caller.needs_token and is_cookie:
                return None  # an old cookie, where no token is needed
            if self._failures.wait_s(caller.address, now_s):
                return _too_many(5, "too many wrong tokens from this address")
            if is_cookie and _opens_page(scope, headers):
                # Or the browser would send it again until the address is locked out.
                return forget_token(_to_login(scope))
            return _unauthorized(UNKNOWN if caller.given else NO_BEARER)
        scope["state"] = {**scope.get("state", {}), "token": token}
        return None if token.allows(needed) else _forbidden(token, needed)

    def _anonymous(self, scope: AsgiScope, headers: Headers) -> Response:
        if _opens_page(scope, headers):
            return _to_login(scope)
        return _unauthorized(
            "a token is needed: `meterline token create NAME --scope read`, then send"
            " it as Authorization: Bearer TOKEN"
        )

    def _for_people(
        self, refusal: Response, scope: AsgiScope, headers: Headers
    ) -> Response:
        """Return a refusal as a page; where it only leads elsewhere, unchanged."""
        if refusal.status_code < 400:
            return refusal
        told = msgspec.json.decode(refusal.body, type=Problem)
        is_form = scope["method"] not in SAFE_METHODS and "authorization" not in headers
        detail = LOGGED_OUT if told.status == 401 and is_form else told.detail
        html = self._refused_page(told.status, detail, scope["path"])
        kept = {
            name: refusal.headers[name]
            for name in ("retry-after", "www-authenticate")
            if name in refusal.headers
        }
        return HTMLResponse(html, told.status, kept)

    def _knows_host(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
        except ValueError:
            return False
        return name in self._names or is_address(name)

    def _with_headers(self, send: Send, path: str) -> Send:
        ancestors = self._frame_ancestors if is_portal(path) else "'none'"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=_mutable(message))
                if is_portal(path):  # its links carry a token, which no site may learn
                    headers.setdefault("Referrer-Policy", "no-referrer")
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault(
                    "Content-Security-Policy", f"{CSP}; frame-ancestors {ancestors}"
                )
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return guarded


def _is_probe(scope: AsgiScope) -> bool:
    return scope["path"] in PROBES and not scope["query_string"]


def may_write(request: Request) -> bool:
    """Say whether whoever sent this may change things: what the pages offer them."""
    token: Token | None = request.scope.get("state", {}).get("token")
    return token is None or token.allows("write")


def takes_pages(headers: Headers) -> bool:
    """Say whether whoever sent this reads pages, as browsers do, and not JSON."""
    return "text/html" in headers.get("accept", "")


def forget_token(response: Response) -> Response:
    """Return the answer, with which the browser forgets its token."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _opens_page(scope: AsgiScope, headers: Headers) -> bool:
    return scope["method"] == "GET" and takes_pages(headers)


def _to_login(scope: AsgiScope) -> Response:
    query: bytes = scope["query_string"]
    target = scope["path"] + ("?" + query.decode("latin-1") if query else "")
    return RedirectResponse(f"/login?next={quote(target)}", 303)


def _is_foreign(headers: Headers) -> bool:
    """Say whether a browser sent this for a page that is not ours.

    No page can set either header. ``Sec-Fetch-Site`` is the browser's own comparison
    and decides where it says that a page sent this; browsers leave it out on plain
    HTTP, and what is no browser always does.
    """
    site = headers.get("sec-fetch-site", "none")
    if site != "none":
        return site != "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _token_text(headers: Headers) -> str | None:
    """Return the token of the header, or else of the dashboard's cookie."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind:
        return text.strip() if kind.lower() == "bearer" else ""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def _unauthorized(detail: str) -> Response:
    response = problem(401, detail)
    response.headers["WWW-Authenticate"] = 'Bearer realm="meterline"'
    return response


def _forbidden(token: Token, needed: Scope) -> Response:
    return problem(403, f"this token has the scope {token.scope}; this needs {needed}")


def _too_many(wait_s: float, detail: str) -> Response:
    response = problem(429, detail)
    response.headers["Retry-After"] = str(max(1, round(wait_s)))
    return response


def _busy() -> Response:
    response = problem(503, "too many requests are being answered; try again soon")
    response.headers["Retry-After"] = "1"
    return response


def _too_long(bytes_max: int) -> str:
    return f"a body has at most {bytes_max} bytes"


def _mutable(message: Message) -> MutableMapping[str, Any]:
    message["headers"] = list(message.get("headers", ()))
    return message


def _limited(receive: Receive, bytes_max: int) -> Receive:
    """Refuse a body that is longer than it said: the rest is never read."""
    n_bytes = 0

    async def limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > bytes_max:
            raise HTTPException(413, _too_long(bytes_max))
        return message

    return limited
