"""Bill a period in parts whose sum is the whole, to the cent."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from meterline_pricing.charge import Charge, Charges, taken_back
from meterline_pricing.invoice import Invoice, Line, invoice
from meterline_pricing.money import ZERO, Currency, currency_of, exact, money_text
from meterline_pricing.period import Period
from meterline_pricing.plan import Plan
from meterline_pricing.price import Price
from meterline_pricing.rating import rate
from meterline_pricing.usage import Usage


def rate_between(
    price: Price,
    before: Usage | None,
    after: Usage,
    *,
    currency: str | None = None,
) -> Charges:
    """Return what is still to be charged when ``before`` is charged already.

    That is ``rate(after) - rate(before)``, so a period that is billed in parts sums
    to the whole, flat amounts of tiers included: each is charged in the part that
    enters the tier. It can be negative under a ``volume`` price.

    Args:
        price: one of the models of ``price.py``.
        before: all usage of the period up to the last part, or ``None`` before the
            first part, when not even what is due at zero usage was charged.
        after: all usage of the period up to now, ``before`` included.
        currency: as for ``rate``.

    Raises:
        PricingError: as ``rate``.
    """
    now = rate(price, after, currency=currency)
    if before is None:
        return now
    past = rate(price, before, currency=currency)
    with exact():
        return Charges(now.amount - past.amount, now.charges + taken_back(past))


def invoice_between(
    plan: Plan,
    before: Mapping[str, Usage] | None,
    after: Mapping[str, Usage],
    period: Period | None = None,
    *,
    is_last: bool = True,
) -> Invoice:
    """Return the invoice for what was used since the last invoice of a period.

    Line by line what the whole comes to now, less what it came to before, both
    rounded; so the invoices of a period sum to the one invoice that it would have
    had, to the cent, whatever the plan. Its lines have no quantity: use ``after``
    less ``before`` to show one.

    Args:
        plan: the same for all parts.
        before: all usage of the period up to the last part, or ``None`` for the
            first part.
        after: all usage of the period up to now, ``before`` included.
        period: shown on the invoice.
        is_last: whether the period is over; only then are minimums and commitments
            trued up.

    Raises:
        PricingError: as ``invoice``.
    """
    now = invoice(plan, after, period, is_last=is_last)
    if before is None:
        return now
    past = invoice(plan, before, is_last=False)
    with exact():
        return _subtracted(now, past)


def _subtracted(now: Invoice, past: Invoice) -> Invoice:
    """Return ``now`` less ``past``; lines that are in one of them only count too."""
    currency = currency_of(now.currency)
    done = _by_place(past)
    lines: list[Line] = []
    for place, line in _by_place(now).items():
        billed = done.pop(place, None)
        lines.append(_less(line, billed.amount, currency) if billed else line)
    for line in done.values():
        nothing = money_text(ZERO, currency)
        gone = replace(line, amount=ZERO, charges=(), explanation=nothing)
        lines += [_less(gone, line.amount, currency)]
    return replace(
        now,
        lines=tuple(lines),
        **{
            name: getattr(now, name) - getattr(past, name)
            for name in ("subtotal", "coupons", "credits", "tax", "total")
        },
    )


def _by_place(whole: Invoice) -> dict[tuple[str, str, int], Line]:
    """Return the lines by kind, name and which of its like each is."""
    seen: Counter[tuple[str, str]] = Counter()
    lines: dict[tuple[str, str, int], Line] = {}
    for line in whole.lines:
        alike = (line.kind, line.name)
        lines[*alike, seen[alike]] = line
        seen[alike] += 1
    return lines


def _less(line: Line, billed: Decimal, currency: Currency) -> Line:
    """Return a line without what was billed before."""
    if not billed:
        return line
    if billed > 0:
        text = f"- {money_text(billed, currency)} billed before"
        more = f" {text}"
    else:
        text = f"{money_text(-billed, currency)} taken off before"
        more = f" + {text}"
    rest = line.amount - billed
    return replace(
        line,
        quantity=None,
        charges=(*line.charges, Charge(-billed, text)),
        amount=rest,
        explanation=f"{line.explanation}{more} = {money_text(rest, currency)}",
    )
