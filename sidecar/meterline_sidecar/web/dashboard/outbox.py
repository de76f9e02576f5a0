"""What Stripe is told: what hangs, and why."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.parts import Parts
from meterline_sidecar.store import outbox as store
from meterline_sidecar.store.outbox import STATES, State
from meterline_sidecar.web.dashboard.render import render
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.v1 import ID_MAX

PAGE: Final = 50
MEANS: Final[dict[State, str]] = {
    "pending": "waits to be sent",
    "sending": "is on its way",
    "confirmed": "Stripe has it",
    "unresolved": "may or may not have been counted; reconcile finds out",
    "parked": "waits for a meter at Stripe, or for the customer's stripe_customer",
    "dead": "Stripe refused it; correct what it names, then send it again",
    "expired": "got too old for Stripe before it could be sent",
    "rejected": "Stripe took it and dropped it later",
}


class OutboxQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows."""

    state: State | None = None
    after: Annotated[int, Meta(ge=0, le=ID_MAX)] = 0


async def outbox(request: Request) -> Response:
    """Answer a page of the outbox."""
    parts: Parts = request.app.state.parts
    query = read_query(request, OutboxQuery, keeps_empty=False)
    states = STATES if query.state is None else (query.state,)
    async with parts.database.reading() as tx:
        counts = await store.counts(tx)
        rows = await store.page(tx, states=states, after_id=query.after, limit=PAGE + 1)
    return render(
        request,
        "outbox.html",
        {
            "query": query,
            "counts": counts,
            "means": MEANS,
            "rows": rows[:PAGE],
            "next_after": rows[PAGE - 1].id if len(rows) > PAGE else None,
            "is_dry_run": parts.config.stripe.mode == "dry_run",
            "problems": await parts.stripe.problems(),
            "reported": [
                m.meter.name for m in parts.config.meters if m.bill_through != "none"
            ],
        },
    )
