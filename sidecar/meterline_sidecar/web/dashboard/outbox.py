"""What Stripe is told: what hangs, and why."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.store import outbox as store
from meterline_sidecar.store.outbox import STATES, OutboxRow, State
from meterline_sidecar.stripe.health import read_health
from meterline_sidecar.stripe.meter_events import AGE_MS_MAX
from meterline_sidecar.stripe.states import RETRYABLE, ROW_STATES
from meterline_sidecar.web.api.outbox import RetryQuery as Retry
from meterline_sidecar.web.api.outbox import RowId, retry_outbox_row
from meterline_sidecar.web.dashboard.to_do import shown
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.render import render

PAGE: Final = 50
MEANS: Final = {name: state.means for name, state in ROW_STATES.items()}


class OutboxQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows."""

    state: State | None = None
    after: RowId = 0


class RetryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which row to send again, and which list to return to."""

    row: RowId
    state: State | None = None


async def outbox(request: Request) -> Response:
    """Answer a page of the outbox."""
    parts: Parts = request.app.state.parts
    query = read_query(request, OutboxQuery, is_page=True)
    states = STATES if query.state is None else (query.state,)
    stripe = await read_health(parts.stripe)
    async with parts.database.reading() as tx:
        rows = await store.page(tx, states=states, after_id=query.after, limit=PAGE + 1)
    return render(
        request,
        "outbox.html",
        {
            "query": query,
            "counts": stripe.counts,
            "means": MEANS,
            "rows": rows[:PAGE],
            "next_after": rows[PAGE - 1].id if len(rows) > PAGE else None,
            "retried": _retried(parts, rows) if may_write(request) else (),
            "is_dry_run": parts.config.stripe.mode == "dry_run",
            "problems": shown(stripe.problems),
            "reported": [
                m.meter.name for m in parts.config.meters if m.bill_through != "none"
            ],
        },
    )


def _retried(parts: Parts, rows: list[OutboxRow]) -> frozenset[int]:
    """Return the rows that a click could let go again; others have to wait or never can."""
    oldest_ms = parts.clock.now_ms() - AGE_MS_MAX

    def has_payer(row: OutboxRow) -> bool:
        customer = parts.customers.get(row.customer)
        now = None if customer is None else customer.stripe_customer
        return (now or row.stripe_customer) is not None

    return frozenset(
        row.id
        for row in rows
        if row.state in RETRYABLE
        and row.replaced_by is None
        and row.hour_ms >= oldest_ms
        and not (row.state == "dead" and row.doubt_ms is not None)
        and (row.state != "parked" or has_payer(row))
    )


async def retry(request: Request) -> Response:
    """Let a row go again, and show the list that it was in."""
    query = read_query(request, RetryQuery, path_names=frozenset(("row",)))
    await retry_outbox_row(request.app.state.parts, Retry(row=query.row))
    return RedirectResponse(
        "/outbox" if query.state is None else f"/outbox?state={query.state}", 303
    )
