"""Raw events of edges that forward usage, out of the files that they wrote."""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline.edge_wire import SUBJECTS_MAX
from meterline.events import UNCOUNTED
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.raw_events import ANYTHING, Narrow, Page
from meterline_sidecar.ledger.edge_events import Found, Wanted
from meterline_sidecar.store.edge.event_log import AuditEvent
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.claims import name_ranges
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.usage.taken import Taken
from meterline_sidecar.web.answers.archive import EdgeFiled
from meterline_sidecar.web.answers.edge_events import EdgeEvent, EdgeEventPage, Untold
from meterline_sidecar.web.answers.events import KINDS
from meterline_sidecar.web.api.edges import EdgeName
from meterline_sidecar.web.api.events import shown_event
from meterline_sidecar.web.api.filed import filed_by
from meterline_sidecar.web.api.line_events import Day, line_of, meter_of, span_in
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    CustomerId,
    Limit,
    MonthName,
    find_customer,
    invoice_period,
    span_of,
    statuses_of,
)
from meterline_sidecar.web.search import RequestSearch

After = Annotated[
    int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
]
NAME_MAX: Final = 256  # of what is asked for; longer ones would end the connection
Payer = Callable[[EventRow], str | None]


class EdgeEventsQuery(RequestSearch, frozen=True, kw_only=True):
    """Which events."""

    edge: EdgeName | None = None
    after: After = 0
    limit: Limit = PAGE


class EdgeLineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The events of which line."""

    customer: CustomerId
    line: Annotated[str, Meta(max_length=256, description="The name of a line.")]
    period: MonthName | None = None
    day: Day | None = None
    after: After = 0
    limit: Limit = PAGE


async def list_edge_events(parts: Parts, query: EdgeEventsQuery) -> EdgeEventPage:
    """List raw events of edges that forward usage: those in files, then the others.

    An edge is asked for what is in no file yet, for some seconds at most.
    """
    customer = None
    if query.customer is not None:
        customer = find_customer(parts, query.customer)
    span = span_of(parts, query, customer)
    payer = payers(parts.terms.terms)
    wanted = Wanted(span.start, span.end, _matching(query, payer))
    narrow = Narrow(
        customer_subjects(parts.terms.terms, query.customer, query.subject),
        query.route,
        query.method,
        None if query.kind is None else KINDS.index(query.kind),
    )
    page = await parts.raw_events.page(
        _edges(parts, query.edge),
        wanted,
        narrow,
        after=query.after,
        limit=query.limit,
    )
    async with parts.database.reading() as tx:
        filed = await filed_by(tx, parts, start=span.start, end=span.end)
    return _shown(page, payer, filed)


async def list_line_edge_events(parts: Parts, query: EdgeLineQuery) -> EdgeEventPage:
    """List raw events of edges of which a line's usage came: those in files, then others.

    By what its meter measures at their times; those that a correction made void, and
    those that a final invoice came too early for, are among them.
    """
    customer = find_customer(parts, query.customer)
    payer = payers(parts.terms.terms)
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        statement = await parts.invoices.shown(tx, at, customer, period)
        line = line_of(statement, query.line)
        meter = meter_of(parts, line, period)
        taken = await Taken.of(tx, at.generation, meter)
        calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
        span = span_in(calendar, line.span or period, query.day)
        filed = await filed_by(tx, parts, start=span.start, end=span.end)

    def matches(event: EventRow) -> bool:
        return (
            not event.flags & UNCOUNTED
            and payer(event) == customer.id
            and taken.quantity_of(event) is not None
        )

    wanted = Wanted(span.start, span.end, matches)
    subjects = customer_subjects(parts.terms.terms, customer.id)
    page = await parts.raw_events.page(
        _edges(parts, None),
        wanted,
        ANYTHING._replace(subjects=subjects),
        after=query.after,
        limit=query.limit,
    )
    return _shown(page, payer, filed, taken)


def payers(terms: Terms) -> Payer:
    """Return what says who pays for an event by what is agreed now."""
    known: dict[str, list[tuple[int, str | None]]] = {}

    def payer(event: EventRow) -> str | None:
        if event.subject is None:
            return None
        if event.subject not in known:
            known[event.subject] = list(terms.claims.history(event.subject))
        history = reversed(known[event.subject])
        return next((who for since, who in history if since <= event.time_ms), None)

    return payer


def customer_subjects(
    terms: Terms, customer: str | None, subject: str | None = None
) -> tuple[tuple[str, str], ...] | None:
    """Return between which names all subjects are that can be asked for.

    ``None``: whichever; they are looked through here.
    """
    if subject is not None:
        return ((subject, subject),)
    if customer is None:
        return None
    texts = terms.claims.ever_of(customer)
    is_short = (
        len(texts) <= SUBJECTS_MAX and max(map(len, texts), default=0) <= NAME_MAX
    )
    return name_ranges(texts) if is_short else None


def _edges(parts: Parts, name: str | None) -> list[Edge]:
    """Return which edges are asked for; by default those that keep their events.

    Raises:
        UnknownEdge: none is called so.
    """
    if parts.edges is None:
        return []
    if name is not None:
        return [parts.edges.named(name)]
    return [edge for edge in parts.edges.all() if edge.rolls_up]


def _matching(query: EdgeEventsQuery, payer: Payer) -> Callable[[EventRow], bool]:
    statuses = statuses_of(query.status)
    kind = None if query.kind is None else KINDS.index(query.kind)

    def matches(event: EventRow) -> bool:
        return (
            query.subject in (None, event.subject)
            and query.route in (None, event.route)
            and query.method in (None, event.method)
            and kind in (None, event.kind)
            and (
                statuses is None
                or any(first <= event.status <= last for first, last in statuses)
            )
            and (query.customer is None or payer(event) == query.customer)
        )

    return matches


def _shown(
    page: Page,
    payer: Payer,
    filed: tuple[EdgeFiled, ...],
    taken: Taken | None = None,
) -> EdgeEventPage:
    def shown(edge: str, one: Found) -> EdgeEvent:
        event = AuditEvent(
            id=one.event_id,
            producer=one.producer,
            customer=payer(one.event),
            source=None,
            external_id=None,
            voided_by=None,
            edge=edge,
            **one.event._asdict(),
        )
        return EdgeEvent(
            **msgspec.structs.asdict(shown_event(event)),
            file=one.file,
            counted=None if taken is None else taken.quantity_of(one.event),
        )

    return EdgeEventPage(
        events=tuple(shown(edge, one) for edge, one in page.events),
        next_after=page.next_after,
        edges=filed,
        untold=tuple(Untold(**one._asdict()) for one in page.untold),
    )


OPERATIONS = (
    Operation("/v1/edge-events", list_edge_events),
    Operation("/v1/customers/{customer}/invoice/edge-events", list_line_edge_events),
)
