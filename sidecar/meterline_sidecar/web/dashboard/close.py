"""The month end: what is final, what waits, what is held up, and closing by a click."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_pricing import Period
from meterline_sidecar.billing.ages import together
from meterline_sidecar.billing.breakdown import Breakdown
from meterline_sidecar.billing.close_run import Held, voided
from meterline_sidecar.billing.desk import HEAPS
from meterline_sidecar.store.edge import late
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.closing import CloseQuery, close_periods
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.money import broad, shown_ages
from meterline_sidecar.web.operations import author_of
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import CustomerId
from meterline_sidecar.web.view.render import render

MONTHS: Final = 12
ROWS: Final = 50


class Month(NamedTuple):
    """How the periods stand that begin in a month."""

    name: str
    n_final: int
    n_in_grace: int
    n_held: int
    totals: Mapping[str, Decimal]
    """What its documents come to, by currency."""
    made_of: Mapping[str, Breakdown] | None
    """What that is made of; ``None``: it is still added up."""


class GapForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody gives up by a click, so that what waits for it becomes final."""

    edge: Annotated[str, Meta(max_length=256)] | None = None
    """By its name; without, whatever is known to be missing."""
    reason: Reason
    dry_run: Literal["yes"] | None = None


class CloseForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody closes by a click."""

    period: str | None = None
    customer: CustomerId | None = None
    skip_grace: Literal["yes"] | None = None
    dry_run: Literal["yes"] | None = None


async def close(request: Request) -> Response:
    """Answer how the month end stands."""
    parts: Parts = request.app.state.parts
    closer, now_ms = parts.closer, parts.clock.now_ms()
    async with parts.database.reading() as tx:
        desk = await parts.desk.months(tx, limit=MONTHS, now_ms=now_ms)
        n_late = await late.n_waiting(tx)
        all_held = [
            *closer.held.values(),
            *await voided(tx, parts.terms.terms, now_ms=now_ms),
        ]
    asked = () if closer.asked is None else closer.asked.held.values()
    waiting = [one for one in (*closer.held.values(), *asked) if not one.is_left]
    in_grace: Counter[str] = Counter()
    for period, n_customers in closer.in_grace.periods():
        in_grace[_month(period)] += n_customers
    held = Counter(_month(one.period) for one in all_held)
    names = sorted({*desk, *in_grace, *held}, reverse=True)[:MONTHS]
    return render(
        request,
        "close.html",
        {
            "is_automatic": closer.rules.is_automatic,
            "grace_hours": parts.config.billing.grace_hours,
            "months": [
                Month(
                    name,
                    desk[name].n_final if name in desk else 0,
                    *(in_grace[name], held[name]),
                    totals=desk[name].totals if name in desk else {},
                    made_of=desk[name].made_of if name in desk else {},
                )
                for name in names
            ],
            "is_broad": broad(
                amount for month in desk.values() for amount in month.totals.values()
            ),
            "desk": {name: month.heaps for name, month in desk.items()},
            "heaps": HEAPS,
            "ages": shown_ages(together(month.ages for month in desk.values())),
            "over": sorted({*in_grace, *held}),
            "n_in_grace": len(closer.in_grace),
            "in_grace": list(islice(closer.in_grace, ROWS)),
            "n_held": len(all_held),
            "held": all_held[:ROWS],
            "running": closer.running,
            "asked": closer.asked,
            "automatic": closer.automatic,
            "has_waiting": bool(waiting),
            "edges_behind": _edges_behind(parts, waiting),
            "n_late": n_late,
            "rows": ROWS,
            "may_write": may_write(request),
        },
    )


def _edges_behind(parts: Parts, held: Sequence[Held]) -> list[tuple[str, str]]:
    """Return the edges that what is held up may wait for, and how they stand."""
    if parts.edges is None:
        return []
    ends = [one.period.end for one in held]
    return list(parts.edges.behind(before_ms=max(ends, default=0)))


def _month(period: Period) -> str:
    """Return the month that a period begins in, which its name begins with."""
    return period.name[: len("2026-11")]


async def close_now(request: Request) -> Response:
    """Begin to close, or to say what would be closed, and show how it goes."""
    form = await read_form(request, CloseForm)
    query = CloseQuery(
        period=form.period,
        customer=form.customer,
        skip_grace=form.skip_grace is not None,
        dry_run=form.dry_run is not None,
    )
    await close_periods(request.app.state.parts, query, author_of(request))
    return RedirectResponse("/close", 303)


async def accept_gap(request: Request) -> Response:
    """Begin to close what is due though something is missing, and show how it goes."""
    form = await read_form(request, GapForm)
    query = CloseQuery(
        accept_gap=form.edge is None,
        accept_edge=form.edge,
        reason=form.reason,
        dry_run=form.dry_run is not None,
    )
    await close_periods(request.app.state.parts, query, author_of(request))
    return RedirectResponse("/close", 303)
