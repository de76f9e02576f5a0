"""What the API can do: each operation is a typed function, and nothing else.

Its path, its parameters (the fields of its query struct), its answer and its first
line of documentation make both the route and its entry in ``/openapi.json``.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeVar,
    get_type_hints,
)

import msgspec
from msgspec.structs import fields
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_pricing.errors import unknown
from meterline_sidecar.access.tokens import Token
from meterline_sidecar.web.misfits import misfit
from meterline_sidecar.web.once import answered_once, key_of
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.strict_json import NotReadable, read_one_json

S = TypeVar("S", bound=msgspec.Struct)
Method = Literal["GET", "POST", "PUT"]
LOCAL: Final = "local"
"""Who changes something without a token."""
SAYS_NOTHING: Final = (b"", b"{}")
"""Bodies of clients that send one with each request."""
_IN_PATH: Final = re.compile(r"{(\w+)}")


class Operation:
    """One operation of the API.

    Args:
        run: takes the parts, ``query`` (the parameters), ``body`` where it has one,
            and ``author`` where it notes who asked, and returns the answer; its
            annotations and its docstring are what the documentation says.
    """

    def __init__(
        self,
        path: str,
        run: Callable[..., Awaitable[msgspec.Struct]],
        *,
        method: Method = "GET",
    ) -> None:
        hints = get_type_hints(run, include_extras=True)
        self.path = path
        self.method: Method = method
        self.name: str = run.__name__
        self.summary = (run.__doc__ or "").partition("\n")[0].rstrip(".")
        self.query: type[msgspec.Struct] = hints["query"]
        self.body: type[msgspec.Struct] | None = hints.get("body")
        self.answer: type[msgspec.Struct] = hints["return"]
        self.path_names = frozenset(_IN_PATH.findall(path))
        self._notes_author = "author" in hints
        self._run = run

    @property
    def route(self) -> Route:
        """The route that answers this operation."""
        return Route(self.path, self._respond, methods=[self.method])

    async def _respond(self, request: Request) -> Response:
        key = None if self.method == "GET" else key_of(request)
        if key is None:
            return await self._answer(request)
        return await answered_once(
            request,
            key=key,
            of=author_of(request),
            act=lambda: self._answer(request),
        )

    async def _answer(self, request: Request) -> Response:
        more: dict[str, Any] = {}
        if self._notes_author:
            more["author"] = author_of(request)
        query = read_query(request, self.query, path_names=self.path_names)
        if self.body is not None:
            more["body"] = await _read_body(request, self.body)
        elif (await request.body()).strip() not in SAYS_NOTHING:
            # What stands there would be ignored: `dry_run`, for example.
            raise BadRequest(_no_body(self.query, self.path_names))
        answer = await self._run(request.app.state.parts, query, **more)
        return tagged(request, msgspec.json.encode(answer), "application/json")


class Body(NamedTuple):
    """What the body of a request may be, in one media type."""

    kind: type[msgspec.Struct] | None
    """``None``: it is a text."""
    example: Any
    can_be_one: bool = False
    """Whether it may be one of them, alone."""
    items_max: int = 0
    """How many of them a list may have; 0 where it can be no list."""


class Described(NamedTuple):
    """What something that is no ``Operation`` has to say in ``/openapi.json``."""

    path: str
    method: str
    name: str
    summary: str
    description: str
    bodies: Mapping[str, Body]
    """By media type; without any, the request has none."""
    answer: type[msgspec.Struct] | None
    """``None``: it is a file."""
    example: Any = None
    answered_with: tuple[str, ...] = ("200",)
    """The statuses with which the answer comes."""
    query: type[msgspec.Struct] | None = None
    """Its parameters."""
    media_type: str = "application/json"
    """Of the answer."""

    @property
    def path_names(self) -> frozenset[str]:
        """Which of the parameters stand in the path."""
        return frozenset(_IN_PATH.findall(self.path))


def author_of(request: Request) -> str:
    """Return who asks: the name of their token."""
    token: Token | None = request.scope.get("state", {}).get("token")
    return LOCAL if token is None else token.name


def _no_body(query: type[msgspec.Struct], path_names: frozenset[str]) -> str:
    names = [f"`{name}`" for name in query.__struct_fields__ if name not in path_names]
    if not names:
        return "this takes no body, and has no parameters"
    return f"this takes no body; {', '.join(names)} can stand in the address, behind ?"


async def _read_body(request: Request, kind: type[S]) -> S:
    said = request.headers.get("content-encoding", "identity")
    if said.lower() != "identity":
        raise HTTPException(415, "send the body without Content-Encoding")
    body = await request.body()
    if not body.strip():
        names = ", ".join(f"`{field.name}`" for field in fields(kind) if field.required)
        raise BadRequest(
            f"the body is empty; send a JSON object{f' with {names}' * bool(names)}"
        )
    try:
        given = read_one_json(body)
    except NotReadable as error:
        raise BadRequest(str(error)) from error
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        why = misfit(given, kind, said=error)
        raise BadRequest(why.told("the body")) from error


def read_query(
    request: Request,
    kind: type[S],
    *,
    path_names: frozenset[str] = frozenset(),
    is_page: bool = False,
) -> S:
    """Return the parameters of a request.

    Args:
        path_names: those that stand in the path and not behind the question mark.
        is_page: whether people open it: what a form sends and nobody filled in is left
            out, and so is what is not known, as mail and chat programs add to links.

    Raises:
        BadRequest: one is wrong, not known, or given more than once.
    """
    given: dict[str, str] = dict(request.path_params)
    for name, value in request.query_params.multi_items():
        if name in given:
            raise BadRequest(f"`{name[:50]}` is given more than once")
        if name not in kind.__struct_fields__:
            if is_page:
                continue
            known = set(kind.__struct_fields__) - path_names
            raise BadRequest(unknown("parameter", name[:50], known))
        if value or not is_page:
            given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        why = misfit(given, kind, strict=False, said=error)
        raise BadRequest(why.told("the address")) from error


def tagged(request: Request, body: bytes, media_type: str) -> Response:
    """Return an answer with an ETag; 304 and no body where the client has it."""
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    # A proxy that compresses makes a tag weak; it is the same answer all the same.
    tags = {part.strip().removeprefix("W/") for part in known.split(",")}
    if request.method in ("GET", "HEAD") and tags & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
