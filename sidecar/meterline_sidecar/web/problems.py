"""Errors as RFC 9457 problems: what happened, and what to do, as JSON."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from meterline_pricing import PricingError
from meterline_sidecar.billing.collection import StepRefused
from meterline_sidecar.billing.credits import GrantRefused
from meterline_sidecar.billing.documents import CreditRefused
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.stripe_plan import NotTold
from meterline_sidecar.errors import (
    ArchiveFailed,
    BeingCorrected,
    ConfigError,
    DatabaseCorrupt,
    DatabaseGone,
    DiskFailed,
    DiskFull,
    EventsArchived,
    LeaseLost,
    NotInstalled,
    NotTheLeader,
    RetryLater,
    StripeRefused,
)
from meterline_sidecar.fleet.edge import UnknownEdge
from meterline_sidecar.ingest.correction_plans import (
    CorrectionRefused,
    NoSuchCorrection,
)
from meterline_sidecar.ingest.event_files import BadFile
from meterline_sidecar.ingest.held import AlreadyCounted, NoSuchHeldEvent
from meterline_sidecar.ingest.import_chunks import ImportRefused
from meterline_sidecar.ingest.imports import NoSuchImport
from meterline_sidecar.ingest.late import AlreadyDecided, NoSuchLateUsage
from meterline_sidecar.ledger.archive import NoSuchFile
from meterline_sidecar.ledger.erased import EraseRefused
from meterline_sidecar.stripe.by_hand import NoSuchRow, NotPossible
from meterline_sidecar.stripe.webhooks import BadWebhook
from meterline_sidecar.terms.keeper import TermsRefused
from meterline_sidecar.terms.moved import TermsMoved
from meterline_sidecar.web.answers.problem import Problem

WHAT_NEXT: Final = {
    "Not Found": "nothing is at this path; /openapi.json lists what exists",
    "Method Not Allowed": "this path does not take that method; the header Allow lists "
    "those it takes",
}
"""What Starlette says, in words that help."""

log = logging.getLogger(__name__)


class BadRequest(Exception):
    """The request cannot be answered as it is; the text says what was expected."""


class NoSuchThing(Exception):
    """Nothing has this id; the text names the nearest, or where to look."""


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


class Refusal(msgspec.Struct, frozen=True):
    """How an error of the domain is answered: the status, and what comes before its text."""

    status: int
    opening: str = ""


NO_STRIPE: Final = "Stripe cannot be reached: "
REFUSALS: Final[Mapping[type[Exception], Refusal]] = {
    BadRequest: Refusal(400),
    BadFile: Refusal(400),
    PricingError: Refusal(400),
    BadWebhook: Refusal(400),
    NoSuchThing: Refusal(404),
    NoSuchRow: Refusal(404),
    NoSuchHeldEvent: Refusal(404),
    NoSuchCorrection: Refusal(404),
    NoSuchLateUsage: Refusal(404),
    AlreadyDecided: Refusal(409),
    NoSuchFile: Refusal(404),
    NoSuchImport: Refusal(404),
    UnknownEdge: Refusal(404),
    AlreadyCounted: Refusal(409),
    ArchiveFailed: Refusal(409),
    EventsArchived: Refusal(409),
    Conflict: Refusal(409),
    CreditRefused: Refusal(409),
    StepRefused: Refusal(409),
    NotTold: Refusal(409),
    NotBillable: Refusal(409),
    GrantRefused: Refusal(409),
    CorrectionRefused: Refusal(409),
    ImportRefused: Refusal(409),
    EraseRefused: Refusal(409),
    NotPossible: Refusal(409),
    TermsRefused: Refusal(409),
    TermsMoved: Refusal(409),
    NotTheLeader: Refusal(409),
    ConfigError: Refusal(409, NO_STRIPE),  # while it runs: Stripe's key is missing
    StripeRefused: Refusal(409, NO_STRIPE),
    RetryLater: Refusal(409, NO_STRIPE),
    BeingCorrected: Refusal(503),
    DiskFull: Refusal(503),
    DatabaseGone: Refusal(503),
    LeaseLost: Refusal(503),
    NotInstalled: Refusal(503),
}
"""Every error that is an answer and no bug; a class stands for those derived from it."""


def refusal_of(error: Exception) -> Refusal:
    """Return how an error of the domain is answered."""
    return next(REFUSALS[kind] for kind in type(error).__mro__ if kind in REFUSALS)


async def on_refused(_request: Request, error: Exception) -> Response:
    """Answer an error of the domain as ``REFUSALS`` says."""
    refusal = refusal_of(error)
    return problem(refusal.status, f"{refusal.opening}{error}")


async def on_fatal(request: Request, error: Exception) -> Response:
    """Answer that the ledger cannot be read, and end the process that reads it."""
    log.error("%s %s failed: %s", request.method, request.url.path, error)
    request.app.state.parts.on_fatal(error)
    return problem(503, f"the ledger cannot be read, and the sidecar ends: {error}")


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what was refused on the way: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    response = problem(error.status_code, WHAT_NEXT.get(error.detail, error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = _allowed(request)
    return response


def _allowed(request: Request) -> str:
    """Return all methods of a path: Starlette names those of its first route."""
    routes: list[Route] = request.app.routes
    methods = {
        method
        for route in routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods))


async def on_gone(_request: Request, _error: Exception) -> Response:
    """Answer who hung up before the request was whole, though nobody may read it."""
    return problem(400, "the request ended before its body was whole")


async def on_bug(request: Request, error: Exception) -> Response:
    """Answer 500 without a word about our insides; the log has them."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "this is a bug in the sidecar; its log has the details")


Handler = Callable[[Request, Exception], Awaitable[Response]]
HANDLERS: Final[dict[type[Exception], Handler]] = {
    **dict.fromkeys(REFUSALS, on_refused),
    **dict.fromkeys((DatabaseCorrupt, DiskFailed), on_fatal),
    HTTPException: on_http_exception,
    ClientDisconnect: on_gone,
    Exception: on_bug,
}
"""What Starlette calls for each error, the nearest class first."""
