"""What Stripe is told: the outbox, the comparison with Stripe, and its webhooks."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_sidecar.clock import DAY_MS, format_time_ms, time_text
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import STATES, OutboxRow, State
from meterline_sidecar.stripe.health import read_health
from meterline_sidecar.stripe.meter_events import key_of
from meterline_sidecar.web.answers.outbox import (
    OutboxPage,
    Reconciliation,
    ReportAnswer,
    ShownRow,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict, answer
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit, Nothing, Span, span_of

RowId = Annotated[int, Meta(ge=0, le=ID_MAX, description="A row's number.")]


class OutboxQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows."""

    state: State | None = None
    after: RowId = 0
    limit: Limit = PAGE


class OneRow(msgspec.Struct, frozen=True, kw_only=True):
    """Which row."""

    row: RowId


class RetryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which row to send again."""

    row: RowId
    certain: Annotated[
        bool,
        Meta(
            description="Retry even if in doubt: you know that Stripe has not counted it."
        ),
    ] = False


class DropQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which row to give up, and why."""

    row: RowId
    reason: Annotated[str, Meta(min_length=1, max_length=150, pattern=r"\S")]


async def list_outbox(parts: Parts, query: OutboxQuery) -> OutboxPage:
    """Answer what Stripe is still to be told, and what it has been told."""
    states = STATES if query.state is None else (query.state,)
    async with parts.database.reading() as tx:
        rows = await outbox.page(
            tx, states=states, after_id=query.after, limit=query.limit
        )
    return OutboxPage(
        mode=parts.config.stripe.mode,
        rows=[shown_row(row) for row in rows],
        next_after=rows[-1].id if len(rows) == query.limit else None,
    )


async def get_outbox_row(parts: Parts, query: OneRow) -> ShownRow:
    """Answer one row of the outbox."""
    return shown_row(await parts.stripe.by_hand.show(query.row))


async def retry_outbox_row(parts: Parts, query: RetryQuery) -> ShownRow:
    """Let a row go again, where that cannot count twice."""
    row = await parts.stripe.by_hand.retry(query.row, is_certain=query.certain)
    return shown_row(row)


async def drop_outbox_row(parts: Parts, query: DropQuery) -> ShownRow:
    """Give a row up: Stripe is never told."""
    row = await parts.stripe.by_hand.drop(query.row, reason=query.reason)
    return shown_row(row)


async def run_report(parts: Parts, query: Nothing) -> ReportAnswer:
    """Add the closed hours to the outbox, and send what is due, now."""
    if parts.alarm is not None:
        raise Conflict(f"nothing is billed: {parts.alarm}")
    with parts.leading.as_leader():
        await parts.stripe.report_now()
    stripe = await read_health(parts.stripe)
    return ReportAnswer(
        mode=parts.config.stripe.mode,
        outbox=stripe.counts,
        problems=list(stripe.problems),
    )


async def run_reconcile(parts: Parts, query: Span) -> Reconciliation:
    """Compare the ledger with Stripe's own totals, and settle what is in doubt."""
    span = span_of(parts, query, None)
    with parts.leading.as_leader():
        lines = await parts.stripe.reconciler.run(start_ms=span.start, end_ms=span.end)
    # A customer's month may end some hours beside the month in UTC.
    invoices = await parts.stripe.invoice_reconciler.run(
        start_ms=span.start + DAY_MS, end_ms=span.end + DAY_MS
    )
    unbilled = parts.stripe.unbilled
    by_hand = await unbilled.find(start_ms=span.start, end_ms=span.end)
    by_hand += await unbilled.without_subscription(start_ms=span.start, end_ms=span.end)
    return Reconciliation(
        start=format_time_ms(span.start),
        end=format_time_ms(span.end),
        is_equal=all(line.verdict == "equal" for line in lines)
        and all(one.verdict == "equal" for one in invoices),
        lines=lines,
        invoices=invoices,
        by_hand=by_hand,
    )


async def webhook(request: Request) -> Response:
    """Store what Stripe says, and only then answer that we have it."""
    parts: Parts = request.app.state.parts
    body = await request.body()
    signature = request.headers.get("stripe-signature", "")
    is_new = await parts.stripe.webhooks.receive(body, signature)
    return answer({"is_new": is_new})


def shown_row(row: OutboxRow) -> ShownRow:
    """Return a row with its times as text."""
    return ShownRow(
        id=row.id,
        state=row.state,
        customer=row.customer,
        stripe_customer=row.stripe_customer,
        meter=row.meter,
        event_name=row.event_name,
        mode=row.mode,
        hour=format_time_ms(row.hour_ms),
        part=row.part,
        value=row.quantity,
        identifier=row.identifier,
        idempotency_key=key_of(row.identifier, row.key_no),
        attempts=row.attempts,
        last_sent=time_text(row.sent_ms),
        in_doubt_since=time_text(row.doubt_ms),
        request_id=row.request_id,
        reason=row.reason,
        replaced_by=row.replaced_by,
    )


OPERATIONS = (
    Operation("/v1/outbox", list_outbox),
    Operation("/v1/outbox/{row}", get_outbox_row),
    Operation("/v1/outbox/{row}/retry", retry_outbox_row, method="POST"),
    Operation("/v1/outbox/{row}/drop", drop_outbox_row, method="POST"),
    Operation("/v1/report", run_report, method="POST"),
    Operation("/v1/reconcile", run_reconcile, method="POST"),
)
ROUTES = [Route("/stripe/webhook", webhook, methods=["POST"])]
