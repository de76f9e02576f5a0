import msgspec
import pytest
from starlette.requests import Request

from meterline_pricing import NotFound, PricingError
from meterline_sidecar.billing.collection import StepRefused
from meterline_sidecar.billing.credits import GrantRefused
from meterline_sidecar.billing.documents import CreditRefused
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.stripe_plan import NotTold
from meterline_sidecar.errors import (
    ArchiveFailed,
    BeingCorrected,
    ConfigError,
    DatabaseGone,
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
from meterline_sidecar.web.problems import (
    HANDLERS,
    REFUSALS,
    BadRequest,
    Conflict,
    NoSuchThing,
    on_refused,
)
from tests.web.conftest import Web

REQUEST = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
ANSWERS: list[tuple[Exception, int, str]] = [
    (BadRequest("x"), 400, "x"),
    (BadFile("x"), 400, "x"),
    (PricingError("x"), 400, "x"),
    (NotFound("x"), 400, "x"),  # of a price list: a kind of PricingError
    (BadWebhook("x"), 400, "x"),
    (NoSuchThing("x"), 404, "x"),
    (NoSuchRow("x"), 404, "x"),
    (NoSuchHeldEvent("x"), 404, "x"),
    (NoSuchImport("x"), 404, "x"),
    (NoSuchCorrection("x"), 404, "x"),
    (NoSuchLateUsage("x"), 404, "x"),
    (NoSuchFile("x"), 404, "x"),
    (UnknownEdge("x"), 404, "x"),
    (ArchiveFailed("x"), 409, "x"),
    (EventsArchived("x"), 409, "x"),
    (AlreadyCounted("x"), 409, "x"),
    (AlreadyDecided("x"), 409, "x"),
    (CorrectionRefused("x"), 409, "x"),
    (Conflict("x"), 409, "x"),
    (EraseRefused("x"), 409, "x"),
    (NotTold("x"), 409, "x"),
    (StepRefused("x"), 409, "x"),
    (CreditRefused("x"), 409, "x"),
    (NotBillable("x"), 409, "x"),
    (GrantRefused("x"), 409, "x"),
    (ImportRefused("x"), 409, "x"),
    (NotPossible("x"), 409, "x"),
    (TermsRefused("x"), 409, "x"),
    (TermsMoved("x"), 409, "x"),
    (NotTheLeader("x"), 409, "x"),
    (ConfigError("x"), 409, "Stripe cannot be reached: x"),
    (StripeRefused("x", status=400, code=None), 409, "Stripe cannot be reached: x"),
    (RetryLater("x", after_s=1), 409, "Stripe cannot be reached: x"),
    (BeingCorrected("x"), 503, "x"),
    (NotInstalled("x"), 503, "x"),
    (DatabaseGone("x"), 503, "x"),
    (LeaseLost("x"), 503, "x"),
    (DiskFull("x"), 503, "x"),  # a kind of RetryLater, and its own answer all the same
]


@pytest.mark.parametrize(("error", "status", "detail"), ANSWERS)
async def test_an_error_of_the_domain_is_answered_as_the_table_says(
    error: Exception, status: int, detail: str
) -> None:
    response = await on_refused(REQUEST, error)

    told = msgspec.json.decode(response.body, type=Problem)
    assert (response.status_code, told.status, told.detail) == (status, status, detail)
    assert response.media_type == "application/problem+json"


def test_every_row_of_the_table_is_asked_and_answered() -> None:
    assert {type(error) for error, _, _ in ANSWERS} - {NotFound} == set(REFUSALS)
    assert set(REFUSALS) <= set(HANDLERS)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v1/outbox/99", 404, "no row 99"),
        ("POST", "/v1/outbox/99/retry", 404, "no row 99"),
        ("POST", "/v1/outbox/99/drop?reason=x", 404, "no row 99"),
        (
            "GET",
            "/v1/events/99",
            404,
            "no event 99; `meterline events` lists the newest",
        ),
        ("GET", "/v1/customers/acmee", 404, "did you mean acme?"),
        ("GET", "/v1/customers/acme/invoice?period=2025-11", 409, "customer acme: "),
        (
            "POST",
            "/v1/customers/acme/invoice/finalize?period=2025-11",
            409,
            "customer acme: ",
        ),
        ("POST", "/v1/archive/run", 409, "events stay for ever: set retention"),
        ("POST", "/v1/archive/restore?file=x", 404, "no file x holds what is away"),
        ("POST", "/stripe/webhook", 400, "no webhook secret"),
    ],
)
async def test_operations_let_errors_rise_to_the_table(
    web: Web, method: str, path: str, status: int, detail: str
) -> None:
    response = await web.http.request(method, path)

    assert (response.status_code, detail in response.json()["detail"]) == (status, True)


@pytest.mark.parametrize("path", ["/v1/customers", "/login"])
async def test_who_hangs_up_in_the_middle_of_a_body_is_no_bug(
    web: Web, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1"},
        **{"method": "POST", "scheme": "http", "path": path, "raw_path": path.encode()},
        **{"query_string": b"", "headers": [(b"host", b"localhost")]},
        **{"client": None, "server": ("localhost", 80), "root_path": ""},
    }
    await web.app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert "ERROR" not in {record.levelname for record in caplog.records}
