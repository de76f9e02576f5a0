"""``/openapi.json``: made of the operations, so that it says what they do."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import meterline
from meterline_sidecar.web import once
from meterline_sidecar.web.answers.problem import Problem
from meterline_sidecar.web.operations import Body, Described, Operation, tagged

REF: Final = "#/components/schemas/{name}"
STATUSES: Final = {
    "400": "The request is invalid; the detail says why.",
    "401": "A token is required, or this one is unknown.",
    "403": "This token's scope is not sufficient.",
    "404": "Not found.",
    "409": "Not possible in the current state.",
    "413": "The body is too large.",
    "415": "Not in a media type that is listed, or compressed.",
    "421": "Unknown host name.",
    "431": "The headers are too large.",
    "429": "Too many requests; Retry-After says when to try again.",
    "503": "Not now, such as with a full disk; the same request may succeed later.",
}

KEY: Final = {
    "name": once.HEADER,
    "in": "header",
    "required": False,
    "description": "Names this request: sent again under the same key, it changes"
    " nothing, and the first answer comes again.",
    "schema": {
        "type": "string",
        "maxLength": once.KEY_CHARS_MAX,
        "pattern": "^[!-~]+$",
    },
}


def document(
    operations: Iterable[Operation], described: Iterable[Described] = ()
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these operations."""
    listed, others = list(operations), list(described)
    bodies = [operation.body for operation in listed if operation.body is not None]
    bodies += [
        body.kind
        for other in others
        for body in other.bodies.values()
        if body.kind is not None
    ]
    answers = [operation.answer for operation in listed]
    answers += [other.answer for other in others if other.answer is not None]
    types = dict.fromkeys([Problem, *answers, *bodies])
    _, components = msgspec.json.schema_components(types, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _entry(
            operation
        )
    for other in others:
        paths.setdefault(other.path, {})[other.method] = _described(other)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meterline",
            "version": meterline.__version__,
            "description": "Usage by customer, and what it costs. Money is a decimal "
            "in a string; times are RFC 3339; spans are [start, end).",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Created by `meterline token create`.",
                }
            },
        },
    }


def _entry(operation: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {}
    statuses = STATUSES.keys() - ({"415"} if operation.body is None else set())
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        body["requestBody"] = {"required": True, "content": content}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *_parameters(operation.query, operation.path_names),
            *(() if operation.method == "GET" else (KEY,)),
        ],
        **body,
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _ref(operation.answer)}},
            },
            **_unchanged(operation.method),
            **{status: _problem(status) for status in STATUSES if status in statuses},
        },
    }


def _described(other: Described) -> dict[str, Any]:
    answers: dict[str, Any] = {"schema": {"type": "string"}}
    if other.answer is not None:
        answers = {"schema": _ref(other.answer), "example": other.example}
    responses: dict[str, dict[str, Any]] = {
        "200": {"description": "The answer.", "content": {}},
        **_unchanged(other.method),
        **{status: _problem(status) for status in STATUSES},
    }
    for status in other.answered_with:
        responses[status]["content"][other.media_type] = answers
    content = {
        media_type: {"schema": _body(body), "example": body.example}
        for media_type, body in other.bodies.items()
    }
    query = other.query
    return {
        "operationId": other.name,
        "summary": other.summary,
        "description": other.description,
        "parameters": []
        if query is None
        else list(_parameters(query, other.path_names)),
        **({"requestBody": {"required": True, "content": content}} if content else {}),
        "responses": responses,
    }


def _body(body: Body) -> dict[str, Any]:
    if body.kind is None:
        return {"type": "string"}
    one = _ref(body.kind)
    items = {"type": "array", "items": one, "maxItems": body.items_max}
    if body.can_be_one and body.items_max:
        return {"oneOf": [one, items]}
    return one if body.can_be_one else items


def _unchanged(method: str) -> dict[str, Any]:
    if method.upper() != "GET":
        return {}
    return {"304": {"description": "It is what `If-None-Match` names."}}


def _problem(status: str) -> dict[str, Any]:
    return {
        "description": STATUSES[status],
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }


def _parameters(
    query: type[msgspec.Struct], path_names: frozenset[str]
) -> Iterable[dict[str, Any]]:
    schema = msgspec.json.schema(query)
    (own,) = (part for name, part in schema["$defs"].items() if name == query.__name__)
    for name, of_field in own["properties"].items():
        shown, description = _plain(of_field)
        is_in_path = name in path_names
        yield {
            "name": name,
            "in": "path" if is_in_path else "query",
            "required": is_in_path or name in own.get("required", ()),
            "description": description,
            "schema": shown,
        }


def _plain(schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a parameter's schema without null, which no URL can say, and its words."""
    shown = dict(schema)
    shown.pop("default", None)
    options = [part for part in shown.pop("anyOf", ()) if part != {"type": "null"}]
    if options:
        (only,) = options
        shown |= only
    description = shown.pop("description", "")
    return shown, description


def _ref(struct: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=struct.__name__)}


def route(operations: Iterable[Operation], described: Iterable[Described]) -> Route:
    """Return the route of the document, which is made when it is first asked for.

    It is 0.4 MB, and takes twice as much and 30 ms to make; hardly anybody reads it.
    """

    @cache
    def body() -> bytes:
        return msgspec.json.encode(document(operations, described))

    async def openapi(request: Request) -> Response:
        return tagged(request, body(), "application/json")

    return Route("/openapi.json", openapi)
