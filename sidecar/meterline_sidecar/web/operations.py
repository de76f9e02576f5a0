"""What the API can do: each operation is a typed function, and nothing else.

Its path, its parameters (the fields of its query struct), its answer and its first
line of documentation make both the route and its entry in ``/openapi.json``.
"""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_pricing.errors import unknown
from meterline_sidecar.access.tokens import Token
from meterline_sidecar.web.once import answered_once, key_of
from meterline_sidecar.web.problems import BadRequest, in_plain_words

S = TypeVar("S", bound=msgspec.Struct)
Method = Literal["GET", "POST", "PUT"]
KINDS: Final = {"int": "a whole number", "bool": "true or false"}
LOCAL: Final = "local"
"""Who changes something without a token."""
_IN_PATH: Final = re.compile(r"{(\w+)}")
# What msgspec says; "Expected `int` >= 1 - at `$.page`", for example.
_WRONG: Final = re.compile(
    r"(?:Expected `(?P<what>\w+)[^`]*`(?: of length)?(?: (?P<sign>[<>]=) (?P<bound>\d+))?"
    r"(?:, got `\w+`)?|Invalid enum value '.*') - at `\$\.(?P<name>\w+)`"
)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")


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


async def _read_body(request: Request, kind: type[S]) -> S:
    body = await request.body()
    try:
        said = msgspec.json.decode(body, type=kind)
        json.loads(body, object_pairs_hook=_each_once)
    except msgspec.ValidationError as error:
        why = in_plain_words(str(error)).replace("`$.", "`")
        raise BadRequest(why) from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    return said


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says something twice: nobody knows which one was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, n_times)] = Counter(name for name, _ in pairs).most_common(1)
        raise BadRequest(f"`{name}` stands in the body {n_times} times")
    return found


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
            raise BadRequest(f"{name[:50]} is given more than once")
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
        raise BadRequest(_in_words(str(error), kind, given)) from error


def _in_words(said: str, kind: type[msgspec.Struct], given: dict[str, str]) -> str:
    """Return what msgspec says of a parameter in words for whoever typed it."""
    missing = _MISSING.fullmatch(said)
    if missing is not None:
        return f"{missing[1]} is missing"
    found = _WRONG.fullmatch(said)
    if found is None:
        return in_plain_words(said).replace("`$.", "`")
    what, bound, sign, name = found.group("what", "bound", "sign", "name")
    typed = f"{name}={given[name][:50]!r}"
    if bound is not None:
        limit = f"at {'least' if sign == '>=' else 'most'} {bound}"
        is_text = "length" in said
        return (
            f"{name} has {limit} characters" if is_text else f"{typed} is not {limit}"
        )
    if what is None:
        choices = _choices(kind, name)
        return f"{typed} is none of {', '.join(choices)}"
    return f"{typed} is not {KINDS.get(what, 'a text')}"


def _choices(kind: type[msgspec.Struct], name: str) -> list[str]:
    """Return what a parameter can be, of those that can be a few texts only."""
    found = get_type_hints(kind)[name]
    each = get_args(found) if get_origin(found) is not Literal else (found,)
    return [
        text for one in each if get_origin(one) is Literal for text in get_args(one)
    ]


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
