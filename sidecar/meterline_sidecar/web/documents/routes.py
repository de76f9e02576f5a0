"""The paths of documents: pages for people, and files."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from meterline_sidecar.local import written_for
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.web.answers.collection import NewPayment, StepReason
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.collection import (
    InvoiceNumber,
    NewCreditNote,
    credit_invoice,
    give_up_invoice,
    pay_invoice,
    refund_invoice,
    send_invoice,
    void_invoice,
)
from meterline_sidecar.web.api.document_list import DocumentsQuery, list_documents
from meterline_sidecar.web.api.documents import DocumentQuery, read_document
from meterline_sidecar.web.documents.paper import file_of
from meterline_sidecar.web.documents.sheet import csv_of
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import Described, author_of, read_query, tagged
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.filters import filtered, typed
from meterline_sidecar.web.view.like import meant
from meterline_sidecar.web.view.render import render
from meterline_sidecar.web.view.sent import sent

PAGE_DOCUMENTS: Final = 50
IN_PATH: Final = frozenset(("number",))
MAKERS: Final = ThreadPoolExecutor(1, "pdf")
"""One PDF at a time: it takes a processor, and others wait for none of its memory."""


async def invoices(request: Request) -> Response:
    """Answer the list of invoices and credit notes."""
    parts: Parts = request.app.state.parts
    form = typed(request, DocumentsQuery)
    names = ("customer", "period", "kind", "state")
    kept = {name: form[name] for name in names if form[name]}

    async def read() -> dict[str, Any]:
        query = read_query(request, DocumentsQuery, is_page=True)
        found = await list_documents(parts, replace(query, limit=PAGE_DOCUMENTS))
        return {
            "documents": found.documents,
            "meant": await meant(parts, kept),
            "is_first": query.before == ID_MAX,
            "older": found.next_before,
        }

    return await filtered(request, "invoices.html", {"query": form, "kept": kept}, read)


async def invoice(request: Request) -> Response:
    """Answer one document, as it is printed."""
    shown, query = await _read(request, is_page=True)
    parts: Parts = request.app.state.parts
    with written_for(parts.locale_of(shown.customer)):
        return render(
            request,
            "invoice.html",
            {"shown": shown, "query": query, "may_write": may_write(request)},
        )


class StepForm(msgspec.Struct, frozen=True, kw_only=True):
    """A step that somebody says an invoice took."""

    step: Literal["sent", "uncollectible", "void"]
    reason: Reason


class PaymentForm(msgspec.Struct, frozen=True, kw_only=True):
    """A payment of an invoice that somebody records."""

    what: Literal["payment", "refund"]
    amount: Annotated[str, Meta(max_length=30)]
    day: date | None = None
    reference: Annotated[str, Meta(max_length=200)] = ""


class CreditForm(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an invoice that somebody credits."""

    amount: Annotated[str, Meta(max_length=30)]
    reason: Reason


async def step(request: Request) -> Response:
    """Note what became of an invoice, and show it again."""
    form = await read_form(request, StepForm)
    query = read_query(request, InvoiceNumber, path_names=IN_PATH)
    take = {
        "sent": send_invoice,
        "uncollectible": give_up_invoice,
        "void": void_invoice,
    }[form.step]
    body = StepReason(reason=form.reason)
    await take(request.app.state.parts, query, body=body, author=author_of(request))
    return RedirectResponse(f"/invoices/{quote(query.number, safe='')}#steps", 303)


async def pay(request: Request) -> Response:
    """Record a payment of an invoice, or that it was given back, and show it again."""
    form = await read_form(request, PaymentForm)
    query = read_query(request, InvoiceNumber, path_names=IN_PATH)
    body = NewPayment(amount=form.amount, day=form.day, reference=form.reference)
    record = pay_invoice if form.what == "payment" else refund_invoice
    await record(request.app.state.parts, query, body=body, author=author_of(request))
    return RedirectResponse(f"/invoices/{quote(query.number, safe='')}#steps", 303)


async def credit(request: Request) -> Response:
    """Issue a credit note to an invoice, and show the credit note."""
    form = await read_form(request, CreditForm)
    query = read_query(request, InvoiceNumber, path_names=IN_PATH)
    body = NewCreditNote(amount=form.amount, reason=form.reason)
    parts: Parts = request.app.state.parts
    note = await credit_invoice(parts, query, body=body, author=author_of(request))
    return RedirectResponse(f"/invoices/{quote(note.number, safe='')}", 303)


async def html_file(request: Request) -> Response:
    """Answer a document as a file of HTML."""
    shown, _ = await _read(request)
    html = _html(request, shown)
    return _file(request, html.encode(), "text/html; charset=utf-8", shown, "html")


async def csv_file(request: Request) -> Response:
    """Answer a document as CSV."""
    shown, _ = await _read(request)
    text = csv_of(shown)
    return _file(request, text.encode(), "text/csv; charset=utf-8", shown, "csv")


async def pdf_file(request: Request) -> Response:
    """Answer a document as a PDF."""
    shown, _ = await _read(request)
    html = _html(request, shown)
    made = await asyncio.get_running_loop().run_in_executor(MAKERS, pdf_of, html)
    return _file(request, made, "application/pdf", shown, "pdf")


async def _read(
    request: Request, *, is_page: bool = False
) -> tuple[DocumentAnswer, DocumentQuery]:
    parts: Parts = request.app.state.parts
    query = read_query(request, DocumentQuery, path_names=IN_PATH, is_page=is_page)
    async with snapshot(parts.database) as (tx, at):
        return await read_document(parts, tx, at, query), query


def _html(request: Request, shown: DocumentAnswer) -> str:
    parts: Parts = request.app.state.parts
    paper = parts.config.seller.paper
    return file_of(shown, paper=paper, locale=parts.locale_of(shown.customer))


def _file(
    request: Request, content: bytes, media_type: str, shown: DocumentAnswer, kind: str
) -> Response:
    response = tagged(request, content, media_type)
    name = f'attachment; filename="{shown.number}.{kind}"'
    response.headers["Content-Disposition"] = name
    return response


FILES: Final = [
    Route("/v1/invoices/{number}.html", html_file),
    Route("/v1/invoices/{number}.csv", csv_file),
    Route("/v1/invoices/{number}.pdf", pdf_file),
]
"""Before the operations of the API: they would take the ending for a part of the number."""
DESCRIBED: Final = tuple(
    Described(
        path=f"/v1/invoices/{{number}}.{kind}",
        method="get",
        name=f"invoice_as_{kind}",
        summary=f"Return an invoice or a credit note as a file: {kind.upper()}",
        description="The same document as without the ending.",
        bodies={},
        answer=None,
        query=DocumentQuery,
        media_type=media_type,
    )
    for kind, media_type in (
        ("html", "text/html"),
        ("csv", "text/csv"),
        ("pdf", "application/pdf"),
    )
)
PAGES: Final = [
    Route("/invoices", invoices),
    Route("/invoices/{number}", invoice),
    Route("/invoices/{number}/steps", sent(step, page=invoice), methods=["POST"]),
    Route("/invoices/{number}/payments", sent(pay, page=invoice), methods=["POST"]),
    Route("/invoices/{number}/credit", sent(credit, page=invoice), methods=["POST"]),
]
