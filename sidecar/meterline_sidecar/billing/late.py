"""What final invoices come to since: events that were late, as adjustments.

A final period is rated again from what its invoice was made from: the plan, the zone
and the days that held then. So only events that were learned later, and what somebody
corrected on purpose, make a difference; it is billed once, on whichever invoice
becomes final first. Who had left, and came back before their last month was over, has
more of that month than its invoice, and so has who begins earlier than was said: the
rest is such a difference, too.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from meterline_pricing import Period, Plan, PricingError
from meterline_sidecar.billing.balances import Balances, uses_of
from meterline_sidecar.billing.breakdown import (
    Breakdown,
    less,
    negative,
    of_invoice,
    together,
)
from meterline_sidecar.billing.credits import grants_again
from meterline_sidecar.billing.drafts import Billing, Drawn, NotBillable
from meterline_sidecar.billing.statement import (
    Adjustment,
    AgreedPart,
    Final,
    Owed,
    Statement,
    lowers_tax,
    made_of,
)
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import added, subtracted
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.invoices import NewUse
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted


class Difference(NamedTuple):
    """A final period that comes to something else now."""

    adjustments: tuple[Adjustment, ...]
    """One for each currency in which something was billed, or is to be. It is 0 where a
    credit paid for all of it, and there is none where nobody knows that of it."""
    uses: tuple[NewUse, ...]
    """What it uses up of credits, or gives back."""


async def differences(
    tx: Tx,
    at: Counted,
    billing: Billing,
    terms: Terms,
    customer: Customer,
    *,
    finals: Mapping[str, Final],
    balances: Balances,
    now_ms: int,
) -> list[Difference]:
    """Return every final period that came to something else since, the earliest first.

    Args:
        at: of this snapshot; see ``counted``.
        finals: all of the customer's, by period.
        balances: of the customer; what the differences use up is taken from them.

    Raises:
        NotBillable: a period cannot be rated any more; the text names it.
    """
    if not finals:
        return []
    late = await store.late_days(tx, customer.id)
    said = said_of(finals)
    found: list[Difference] = []
    for final, period in as_of_now(terms, customer.id, finals, now_ms=now_ms):
        corrected = is_corrected(terms, customer.id, final)
        if not (corrected or period != final.period or _is_stale(final, at, late)):
            continue
        try:
            drawn = await drawn_again(
                tx, at, billing, terms, customer, final, period, balances=balances
            )
        except (NotBillable, PricingError) as error:
            raise NotBillable(
                f"what {final.period.name} comes to since it is final: {error}"
            ) from error
        uses = uses_of(
            drawn.invoice, drawn.plans, customer=customer.id, balances=balances
        )
        adjustments = tuple(_adjustments(final, drawn, said))
        if not adjustments and not uses:
            continue
        balances.take(uses)
        found.append(Difference(adjustments, tuple(uses)))
    return found


Said = Mapping[tuple[str, str], Breakdown | None]
"""What was billed of periods on other invoices, by the period and the currency;
``None``: an adjustment that is older does not say what it is made of."""


def said_of(finals: Mapping[str, Final]) -> Said:
    """Return what the adjustments on all invoices of a customer say."""
    found: dict[tuple[str, str], Breakdown | None] = {}
    for final in finals.values():
        for one in final.statement.adjustments:
            currency = one.currency or final.statement.invoice.currency
            key = (one.period, currency)
            before = found.get(key, Breakdown(currency=currency))
            found[key] = (
                None
                if before is None or one.breakdown is None
                else together(currency, [before, one.breakdown])
            )
    return found


def _adjustments(final: Final, drawn: Drawn, said: Said) -> Iterator[Adjustment]:
    """Yield what a final period comes to now, less what was billed, by currency.

    Where a plan in another currency was agreed on purpose, all that was billed is taken
    back in the one, and all that it comes to is billed in the other.
    """
    now = drawn.invoice
    for currency in {**final.billed, now.currency: Decimal(0)}:
        billed = final.billed.get(currency, Decimal(0))
        total = now.total if currency == now.currency else Decimal(0)
        breakdown = _since(final, drawn, said, currency)
        if total != billed or not (breakdown is None or breakdown.is_nothing):
            yield Adjustment(
                period=final.period.name,
                billed=billed,
                now=total,
                amount=subtracted(total, billed),
                currency=currency,
                breakdown=breakdown,
            )


def _since(final: Final, drawn: Drawn, said: Said, currency: str) -> Breakdown | None:
    """Return what came to a final period since, in a currency; ``None``: nobody knows."""
    nothing = Breakdown(currency=currency)
    others = said.get((final.period.name, currency), nothing)
    if others is None:
        return None
    invoiced = made_of(final.statement)
    billed = [invoiced if invoiced.currency == currency else nothing, others]
    now = nothing
    if drawn.invoice.currency == currency:
        now = of_invoice(drawn.invoice, credits_lower_tax=lowers_tax(drawn.agreement))
    found = less(now, together(currency, billed))
    changed = tuple(tax for tax in found.taxes if tax.amount or tax.base)
    return replace(found, taxes=changed)


def taken_back(
    adjusted: Mapping[str, store.Adjusted], period: str, said: Said
) -> list[Difference]:
    """Return what was billed on other invoices of a period that has no invoice (now).

    Its invoice is void, and the next one has all of the period: what adjusted the first
    one is on invoices that stay, so that it is taken back here, by currency.
    """
    known = adjusted.get(period)
    found: list[Difference] = []
    for currency, amount in ({} if known is None else known.amounts).items():
        billed = said.get((period, currency))
        if not amount and (billed is None or billed.is_nothing):
            continue
        adjustment = Adjustment(
            period=period,
            billed=amount,
            now=Decimal(0),
            amount=subtracted(Decimal(0), amount),
            currency=currency,
            breakdown=None if billed is None else negative(billed),
        )
        found.append(Difference((adjustment,), ()))
    return found


def stated(
    at: Counted, customer: Customer, drawn: Drawn, found: Sequence[Difference]
) -> Statement:
    """Return a draft with the differences that are billed on it."""
    adjusted = tuple(one for difference in found for one in difference.adjustments)
    by_currency: dict[str, Decimal] = {}
    for adjustment in adjusted:
        known = by_currency.get(adjustment.currency, Decimal(0))
        by_currency[adjustment.currency] = added(known, adjustment.amount)
    own = by_currency.pop(drawn.invoice.currency, Decimal(0))
    return Statement(
        customer=customer.id,
        customer_name=customer.name,
        finalized_ms=None,
        counted_up_to_event=at.up_to_event,
        known_correction=at.known_correction,
        usage=drawn.usage.meters,
        invoice=drawn.invoice,
        adjustments=adjusted,
        due=added(drawn.invoice.total, own),
        also_due=tuple(
            Owed(amount, currency) for currency, amount in by_currency.items()
        ),
        agreement=drawn.agreement,
    )


def as_of_now(
    terms: Terms, customer: str, finals: Mapping[str, Final], *, now_ms: int
) -> Iterator[tuple[Final, Period]]:
    """Yield each final invoice with its period as far as it is billed by now.

    Args:
        finals: all of the customer's, the earliest first.
    """
    calendar = CustomerCalendar.of(terms, customer)
    following = [final.period.start for final in finals.values()][1:]
    before_ms = 0
    for final, next_ms in itertools.zip_longest(finals.values(), following):
        yield (
            final,
            _grown(
                calendar,
                final.period,
                before_ms=before_ms,
                next_ms=next_ms,
                now_ms=now_ms,
            ),
        )
        before_ms = final.period.end


async def drawn_again(
    tx: Tx,
    at: Counted,
    billing: Billing,
    terms: Terms,
    customer: Customer,
    final: Final,
    period: Period,
    *,
    balances: Balances,
) -> Drawn:
    """Return what a final period comes to now, under what its invoice was made from.

    Where somebody corrected that on purpose, with what they corrected, and nothing else
    that was agreed since.

    Args:
        period: as ``as_of_now`` has it.

    Raises:
        NotBillable, PricingError: it cannot be rated any more.
    """
    under = final.statement.agreement
    if under is not None and is_corrected(terms, customer.id, final):
        known = terms.corrected(customer.id, known_row=under.terms_row)
        corrected = billing.agreement(at, customer.id, final.period, terms=known)
        under = replace(corrected, grants=under.grants)
    if under is not None:
        edges = (period.start, final.period.start), (final.period.end, period.end)
        before, behind = (
            billing.agreement(at, customer.id, Period(start, end)).parts
            if start < end
            else ()
            for start, end in edges
        )
        parts = _in_one_currency(before, under.parts, behind)
        grants = await grants_again(tx, customer.id, under.grants, balances)
        under = replace(under, parts=parts, grants=grants)
    # What was granted since pays for other invoices.
    return await billing.draft(
        *(tx, at, customer, period),
        under=under,
        balances=balances,
        grants=(),
    )


def _in_one_currency(
    before: Sequence[AgreedPart],
    final: Sequence[AgreedPart],
    behind: Sequence[AgreedPart],
) -> tuple[AgreedPart, ...]:
    """Return the parts of a final period, with those that are billed around it by now.

    An invoice has one currency: where a plan around it is in another, the next one that
    the invoice was made from holds there as well.
    """
    plans = [part.plan for part in final if part.plan is not None]
    if not plans:
        return (*before, *final, *behind)

    def kept(part: AgreedPart, plan: Plan) -> AgreedPart:
        is_other = part.plan is not None and part.plan.currency != plan.currency
        return replace(part, plan=plan) if is_other else part

    return (
        *(kept(part, plans[0]) for part in before),
        *final,
        *(kept(part, plans[-1]) for part in behind),
    )


def _grown(
    calendar: CustomerCalendar,
    period: Period,
    *,
    before_ms: int,
    next_ms: int | None,
    now_ms: int,
) -> Period:
    """Return a final period with what is billed around it by now.

    That is what is behind its end, once it is over, and from an earlier first day on
    that somebody named: that none is named any more asks for nothing.

    Args:
        before_ms: where the final period before it ends; it has what is before.
        next_ms: where the next final period begins; it has what is behind.
    """
    try:
        named = calendar.named(period.name)
    except PricingError:
        return period
    start, end = period.start, named.end
    if calendar.starts is not None:
        start = min(start, max(named.start, before_ms))
    if next_ms is not None:
        end = min(end, next_ms)
    if not period.end < end <= now_ms:
        end = period.end
    return Period(start, end, period.name)


def is_corrected(terms: Terms, customer: str, final: Final) -> bool:
    """Say whether somebody changed on purpose what a final period was made from."""
    agreement = final.statement.agreement
    known = 0 if agreement is None else agreement.terms_row
    return any(
        entry.reaches_final
        and entry.row_id > known
        and entry.from_ms < final.period.end
        for entry in terms.entries("customer", customer)
    )


def _is_stale(final: Final, at: Counted, late: list[tuple[int, int]]) -> bool:
    """Say whether a final period may come to something else than was billed for it."""
    agreement = final.statement.agreement
    if agreement is None or agreement.generation != at.generation:
        return True
    if final.is_touched:
        return True
    return any(
        day_ms + DAY_MS > final.period.start
        and day_ms < final.period.end
        and last_event_id > final.compared_up_to_event
        for day_ms, last_event_id in late
    )
