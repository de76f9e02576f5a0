"""Errors as RFC 9457 problems: what happened, and what to do, as JSON."""

import logging
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from meterline_pricing import PricingError

WHAT_NEXT: Final = {
    "Not Found": "there is nothing at this path; /openapi.json lists what there is",
    "Method Not Allowed": "this path takes other methods; the header Allow lists them",
}
"""What Starlette says, in words that help."""

log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered."""

    title: str
    status: int
    detail: str
    """What was wrong, and what would be right."""


class BadRequest(Exception):
    """The request can not be answered as it is; the text says what was expected."""


class NotFound(Exception):
    """There is no such thing; the text names the nearest."""


class Conflict(Exception):
    """The request makes sense, but not in the present state."""


def answer(content: object, *, status: int = 200) -> Response:
    """Return ``content`` as JSON; Decimals become texts, so that nothing is lost."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def problem(status: int, detail: str) -> Response:
    """Return a problem document."""
    return Response(
        msgspec.json.encode(Problem(HTTPStatus(status).phrase, status, detail)),
        status,
        media_type="application/problem+json",
    )


async def on_bad_request(_request: Request, error: Exception) -> Response:
    """Answer 400."""
    return problem(400, str(error))


async def on_not_found(_request: Request, error: Exception) -> Response:
    """Answer 404."""
    return problem(404, str(error))


async def on_conflict(_request: Request, error: Exception) -> Response:
    """Answer 409."""
    return problem(409, str(error))


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what was refused on the way: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    response = problem(error.status_code, WHAT_NEXT.get(error.detail, error.detail))
    response.headers.update(error.headers or {})
    return response


async def on_bug(request: Request, error: Exception) -> Response:
    """Answer 500 without a word about our insides; the log has them."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "this is a bug in the sidecar; its log has the details")


HANDLERS = {
    BadRequest: on_bad_request,
    PricingError: on_bad_request,
    NotFound: on_not_found,
    Conflict: on_conflict,
    HTTPException: on_http_exception,
    Exception: on_bug,
}
