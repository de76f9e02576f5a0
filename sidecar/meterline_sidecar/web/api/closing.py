"""Closing: what is due, what is held up and why, and closing now."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_sidecar.billing.ages import together
from meterline_sidecar.billing.close_run import (
    LISTED_MAX,
    Due,
    Held,
    Run,
    Wanted,
    voided,
)
from meterline_sidecar.billing.closing import Busy
from meterline_sidecar.billing.statement import Owed
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.terms.period_names import period_name
from meterline_sidecar.web.answers.closing import (
    ClosedPeriod,
    CloseRun,
    CloseState,
    CollectedMonth,
    CollectedMonths,
    OpenPeriod,
    ShownHeap,
)
from meterline_sidecar.web.answers.money import ShownOwed
from meterline_sidecar.web.api.edges import NOT_A_CENTRE
from meterline_sidecar.web.money import shown_ages, shown_breakdown, shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest, Conflict
from meterline_sidecar.web.query import (
    CustomerId,
    MonthName,
    Nothing,
    find_customer,
    period_wanted,
)

MONTHS: Final = 12


class CloseQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become final."""

    period: Annotated[
        MonthName | None,
        Meta(
            description="Only periods of this name, or that begin in this month; by"
            " default all that are due."
        ),
    ] = None
    customer: CustomerId | None = None
    skip_grace: Annotated[
        bool, Meta(description="Also what is over, and whose grace is not.")
    ] = False
    accept_gap: Annotated[
        bool, Meta(description="Even though events are known to be missing.")
    ] = False
    accept_edge: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(description="Even though this edge may have more; by its name."),
    ] = None
    reason: Annotated[
        str,
        Meta(max_length=500, description="Why; it is kept with each invoice."),
    ] = ""
    dry_run: Annotated[
        bool, Meta(description="Say what would become final; change nothing.")
    ] = False


async def read_closing(parts: Parts, query: Nothing) -> CloseState:
    """Return how closing stands: what runs, what waits, what is held up and why."""
    closer, config = parts.closer, parts.config.billing
    terms, now_ms = parts.terms.terms, parts.clock.now_ms()
    async with parts.database.reading() as tx:
        held = [*closer.held.values(), *await voided(tx, terms, now_ms=now_ms)]
    return CloseState(
        is_automatic=closer.rules.is_automatic,
        grace_hours=config.grace_hours,
        running=_shown_if(closer.running),
        asked=_shown_if(closer.asked),
        automatic=_shown_if(closer.automatic),
        n_in_grace=len(closer.in_grace),
        in_grace=_waiting(closer.in_grace),
        n_held=len(held),
        held=_held(held),
    )


async def list_collected(parts: Parts, query: Nothing) -> CollectedMonths:
    """List how the invoices of the last twelve months stand, the newest first."""
    async with parts.database.reading() as tx:
        months = await parts.desk.months(tx, limit=MONTHS, now_ms=parts.clock.now_ms())
    return CollectedMonths(
        months=tuple(
            CollectedMonth(
                period=period,
                states=tuple(
                    ShownHeap(
                        state=heap,
                        invoices=tally.n,
                        amounts=shown_owed(
                            Owed(amount, currency)
                            for currency, amount in tally.amounts.items()
                        ),
                    )
                    for heap, tally in month.heaps.items()
                ),
                documents=None
                if month.made_of is None
                else tuple(map(shown_breakdown, month.made_of.values())),
            )
            for period, month in months.items()
        ),
        ages=shown_ages(together(month.ages for month in months.values())),
    )


async def close_periods(parts: Parts, query: CloseQuery, author: str) -> CloseRun:
    """Begin to make due periods final, each once; see ``/v1/close`` for how it goes."""
    if query.customer is not None:
        find_customer(parts, query.customer)
    period = query.period
    if period is not None:
        period = period_wanted(parts, query.customer, period_name(period))
    if parts.watch is not None and not parts.watch.is_right():
        raise Conflict(
            "this machine's clock jumped, so it is not known which periods are over"
        )
    wanted = Wanted(
        period=period,
        customer=query.customer,
        skips_grace=query.skip_grace,
        accepts_gap=query.accept_gap,
        accepts_edge=_edge_of(parts, query),
        reason=query.reason,
        is_dry=query.dry_run,
        author=author,
    )
    try:
        with parts.leading.as_leader():
            return _shown(parts.closer.ask(wanted))
    except Busy as error:
        raise Conflict(str(error)) from error


def _edge_of(parts: Parts, query: CloseQuery) -> str | None:
    """Return the name of the edge whose gap is accepted."""
    if query.accept_edge is None:
        return None
    if parts.edges is None:
        raise Conflict(NOT_A_CENTRE)
    if not query.reason:
        raise BadRequest("say why what the edge may still have is given up: reason")
    return parts.edges.named(query.accept_edge).row.name


def _shown_if(run: Run | None) -> CloseRun | None:
    return None if run is None else _shown(run)


def _shown(run: Run) -> CloseRun:
    return CloseRun(
        number=run.number,
        author=run.wanted.author,
        period=run.wanted.period,
        customer=run.wanted.customer,
        is_dry=run.wanted.is_dry,
        started=format_time_ms(run.started_ms),
        ended=None if run.ended_ms is None else format_time_ms(run.ended_ms),
        due=run.n_due,
        closed=run.n_closed,
        totals=tuple(
            ShownOwed(amount=amount, currency=currency)
            for currency, amount in sorted(run.totals.items())
        ),
        invoices=tuple(
            ClosedPeriod(
                customer=one.customer,
                period=one.period.name,
                due=one.due,
                currency=one.currency,
            )
            for one in run.closed
        ),
        n_held=len(run.held),
        held=_held(run.held.values()),
        error=run.error,
    )


def _waiting(periods: Iterable[Due]) -> tuple[OpenPeriod, ...]:
    return tuple(
        OpenPeriod(
            customer=one.customer,
            period=one.period.name,
            ended=format_time_ms(one.period.end),
            grace_ends=format_time_ms(one.grace_end_ms),
            why=None,
        )
        for one in islice(periods, LISTED_MAX)
    )


def _held(periods: Iterable[Held]) -> tuple[OpenPeriod, ...]:
    return tuple(
        OpenPeriod(
            customer=one.customer,
            period=one.period.name,
            ended=format_time_ms(one.period.end),
            grace_ends=None,
            why=one.why,
        )
        for one in islice(periods, LISTED_MAX)
    )


OPERATIONS = (
    Operation("/v1/close", read_closing),
    Operation("/v1/close", close_periods, method="POST"),
    Operation("/v1/close/months", list_collected),
)
