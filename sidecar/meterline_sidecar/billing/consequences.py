"""What a change of terms, or counting again, does to money; nothing is changed by asking.

Which periods of whom it could touch is found here; ``compared`` draws each of them as
things are and as they would be.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Final

import msgspec

from meterline_pricing import PricingError
from meterline_sidecar.billing.compared import Consequences, Side, compared
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.moved import moving
from meterline_sidecar.errors import EventsArchived
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import invoices
from meterline_sidecar.store.port import Readable
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.terms.agreed import cuts_between
from meterline_sidecar.terms.book import ALWAYS, Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import (
    CustomerChange,
    MeterChange,
    PlanChange,
    given,
)
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.terms.record import supposed
from meterline_sidecar.usage.recount import Edges, Recount, TooManyEvents, count_again

CUSTOMERS_MAX: Final = 500
"""Whose periods are drawn for a change of terms: about three seconds of work."""
RECOUNTED_MAX: Final = 20_000
"""The same for counting again, where reading all events takes longer than that."""
PRICED_BY: Final = frozenset(
    {"plan", "plans", "overrides", "time_zone", "anchor", "starts", "ends"}
)
"""What about a customer says what usage comes to."""
EDGES: Final = frozenset({"starts", "ends"})
"""What of it is a day by itself, whenever it was said."""


async def of_terms(
    database: Readable, terms: Terms, diff: Diff, *, reads_events: bool = True
) -> Consequences:
    """Return what agreeing to a difference would do to money.

    Where a meter is to be counted otherwise from a day that is past, or subjects to be
    another's, events are counted for it: see ``count_again``.

    Args:
        reads_events: whether there is time for that, as far as subjects move.
    """
    if not diff.planned or diff.refused or terms.is_empty:
        return Consequences()
    async with database.reading() as tx:
        if await newest_generation(tx) is None:
            return Consequences()  # nothing was ever counted
    # In a thread: very many changes take longer than an ack may wait.
    after = await asyncio.to_thread(supposed, terms, diff.planned, now_ms=diff.at_ms)
    meters = {
        planned.name: (planned.from_ms, planned.change.meter)
        for planned in diff.planned
        if isinstance(planned.change, MeterChange)
        and planned.change.meter is not None
        and planned.from_ms < diff.at_ms
    }
    found = await moving(database, terms, diff)
    moves = found.moves if reads_events or meters else None
    not_compared = found.not_looked_at
    recount: Recount | None = None
    if found.moves is not None and moves is None:
        not_compared = len(found.moves.histories)
    if meters or moves is not None:
        edges = await _edges(database, [terms, after])
        try:
            recount = await count_again(database, meters, edges=edges, moves=moves)
        except TooManyEvents:
            assert moves is not None, "meters alone have all events read"
            not_compared = len(moves.histories)
        except EventsArchived as error:
            return Consequences(not_compared=(f"nothing is compared: {error}",))
    since = await asyncio.to_thread(_repriced, terms, diff)
    if recount is not None:
        since |= dict.fromkeys(recount.customers, recount.since_ms)
    money = await compared(
        database,
        *_sides(terms, after, recount),
        since,
        now_ms=diff.at_ms,
        customers_max=CUSTOMERS_MAX,
        is_recounted=recount is not None,
    )
    if not not_compared:
        return money
    text = (
        f"{n_of(not_compared, 'subject')} may change hands for a time that is past: what"
        " they used is not in these amounts"
    )
    return msgspec.structs.replace(money, not_compared=(*money.not_compared, text))


async def of_recount(
    database: Readable, terms: Terms, recount: Recount, *, now_ms: int
) -> Consequences:
    """Return what counting again would do to money."""
    return await compared(
        database,
        *_sides(terms, terms, recount),
        dict.fromkeys(recount.customers, recount.since_ms),
        now_ms=now_ms,
        customers_max=RECOUNTED_MAX,
        is_recounted=True,
    )


async def edges_of(database: Readable, terms: Terms) -> Edges:
    """Return where customers' usage must be told apart to be rated."""
    return await _edges(database, [terms])


def _sides(before: Terms, after: Terms, recount: Recount | None) -> tuple[Side, Side]:
    counts = (None, None) if recount is None else (recount.before, recount.after)
    one, other = (
        Side(terms, Billing(terms, counting=counting))
        for terms, counting in zip((before, after), counts, strict=True)
    )
    return one, other


async def _edges(database: Readable, terms: list[Terms]) -> Edges:
    """Return where usage must be told apart: where periods, finals and terms begin."""
    final: dict[str, set[int]] = defaultdict(set)
    async with database.reading() as tx:
        for customer, start, end in await invoices.final_spans(tx, since_ms=0):
            final[customer] |= {start, end}

    def edges(customer: str, start: int, end: int) -> Iterable[int]:
        found = set(final.get(customer, ()))
        for one in terms:
            calendar = CustomerCalendar.of(one, customer)
            for whole in calendar.periods(start, end):
                found |= {whole.start, whole.end}
                try:
                    period = calendar.named(whole.name)
                except PricingError:
                    continue
                found |= {period.start, period.end}
            found |= cuts_between(one, customer, start, end)
        return [at_ms for at_ms in found if start <= at_ms < end]

    return edges


def _repriced(terms: Terms, diff: Diff) -> dict[str, int]:
    """Return whose prices a difference touches, and from when on."""
    found: dict[str, int] = {}
    plans: dict[str, int] = {}
    for planned in diff.planned:
        match planned.change:
            case CustomerChange() if terms.count("customer", planned.name):
                fields = given(planned.change)
                if not PRICED_BY.isdisjoint(fields):
                    _note(found, planned.name, planned.from_ms)
                for field in EDGES & fields.keys():
                    since_ms = _edge(terms, planned.name, field, fields[field])
                    _note(found, planned.name, since_ms)
            case PlanChange():
                _note(plans, planned.name, planned.from_ms)
            case _:
                pass
    if plans:
        for name in list(terms.names("customer")):
            for plan in terms.plans_of(name) & plans.keys():
                _note(found, name, plans[plan])
    return found


def _edge(terms: Terms, name: str, field: str, day: object) -> int:
    """Return from when on another first or last day of a customer may be felt."""
    calendar = CustomerCalendar.of(terms, name)
    known = getattr(calendar, field)
    days = [one for one in (known, day) if isinstance(one, date)]
    if field == "starts" and len(days) < 2:
        return ALWAYS  # what was before was billed, or will be
    return min((calendar.start_of(one) for one in days), default=ALWAYS)


def _note(since: dict[str, int], name: str, from_ms: int) -> None:
    since[name] = min(from_ms, since.get(name, from_ms))
