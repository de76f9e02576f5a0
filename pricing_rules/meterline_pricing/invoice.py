"""An invoice: every price of a plan applied to what was used, line by line."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing.adjust import ADJUSTMENTS
from meterline_pricing.behind import Counted, rate_behind
from meterline_pricing.bill import Bill, Draft, Item, Kind, Payer
from meterline_pricing.charge import Charge
from meterline_pricing.convert import billable
from meterline_pricing.errors import PricingError
from meterline_pricing.money import ZERO, currency_of, exact, number_text
from meterline_pricing.numbers import Number, check_share, to_signed
from meterline_pricing.period import Period
from meterline_pricing.plan import Plan, RateCard
from meterline_pricing.rating import rate
from meterline_pricing.terms import Every
from meterline_pricing.unpriced import UnpricedGroup, set_unpriced_aside
from meterline_pricing.usage import Usage, quantity_of, together


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is billed: the sum of its charges, rounded once."""

    kind: Kind
    """``usage`` of a meter, a ``fee`` that needs none, or what an agreement beside
    the prices adds (``minimum``, ``commitment``, ``overage``, ``tax``) or takes
    (``discount``, ``maximum``, ``coupon``, ``credit``)."""
    name: str
    """The rate card's name, or the term's."""
    description: str
    of: str
    """The rate card that it belongs to; empty for what belongs to the whole plan."""
    meter: str | None
    quantity: Decimal | None
    """What was used, as the meter counts it; ``None`` where nothing is counted."""
    charges: tuple[Charge, ...]
    amount: Decimal
    """Negative on lines that take."""
    explanation: str
    """``50,000 x $0.00 + 70,000 x $0.001 = $70.00``."""
    span: Period | None = None
    """Where its price held in a part of the period alone: which."""
    nth: int = 0
    """Of a discount, a coupon or a credit: how many of its name its plan has before it."""
    every: Every = "once"
    """Of a credit: how often it is granted."""

    @property
    def is_idle(self) -> bool:
        """Whether it is of a part of the period, of no usage, and of no money."""
        is_free = not any(charge.amount for charge in self.charges)
        return self.span is not None and not self.quantity and is_free


class Invoice(Struct, frozen=True, kw_only=True):
    """What a customer owes for a period under one version of a plan."""

    plan: str
    version: int
    currency: str
    period: Period | None
    lines: tuple[Line, ...]
    subtotal: Decimal
    """Usage, fees, true-ups and discounts: all but coupons, credits and tax."""
    coupons: Decimal
    """What coupons took, as a positive amount."""
    credits: Decimal
    """What prepaid credits paid, as a positive amount."""
    tax: Decimal
    total: Decimal
    """What is to be paid: the sum of the lines."""
    unpriced: tuple[str, ...]
    """Meters that were used and that the plan does not charge for, sorted."""
    unpriced_groups: tuple[UnpricedGroup, ...] = ()
    """Groups of a meter that its price has no answer for: nothing is charged."""

    @property
    def lines_to_show(self) -> tuple[Line, ...]:
        """The lines that tell people something, in order.

        Of a price that changed, an idle part tells nothing where another one follows:
        such as the nine hours of a day in Tokyo until it begins in UTC.
        """
        found: list[Line] = []
        names: set[str] = set()
        for line in reversed(self.lines):
            if not (line.is_idle and line.name in names):
                found.append(line)
            if line.kind in ("usage", "fee"):
                names.add(line.name)
        return tuple(reversed(found))


def invoice(
    plan: Plan,
    usage: Mapping[str, Usage],
    period: Period | None = None,
    *,
    share: tuple[int, int] | None = None,
    billed: Mapping[str, Number] | None = None,
    is_last: bool = True,
) -> Invoice:
    """Return the invoice of ``usage`` under ``plan``.

    A price whose meter was not used has a line too, of whatever it costs at zero.

    Args:
        plan: one version of a plan, as the customer has it.
        usage: meter name to what was used of it.
        period: shown on the invoice.
        share: the part of a billing period that this plan held for, such as
            ``(10, 31)`` days: fees, limits and commitments are cut to it. See
            ``proration.py``.
        billed: by rate card, what earlier invoices for this period charged; it
            counts towards minimums, maximums and commitments.
        is_last: whether this is the period's last invoice, on which minimums and
            commitments are trued up.

    Raises:
        PricingError: a quantity that is no number, or below 0, or not of the shape
            that its price needs; names the meter. A share that is none.
    """
    if share is not None:
        check_share(share)
    charged = {
        name: to_signed(amount, f"billed.{name}")
        for name, amount in (billed or {}).items()
    }
    with exact():
        bill = Bill(
            currency_of(plan.currency),
            plan.rounding,
            items=[Item(card.name, card, usage) for card in plan.prices],
            payers=[Payer(plan.credits)],
            share=share,
            billed=charged,
            is_last=is_last,
        )
        unpriced = usage.keys() - read_by(plan.prices)
        return invoice_of_bill(bill, plan, period, unpriced=unpriced)


def invoice_of_bill(
    bill: Bill, plan: Plan, period: Period | None, *, unpriced: Iterable[str]
) -> Invoice:
    """Return the invoice of the items of a bill, by what a plan says beside prices.

    Args:
        unpriced: meters that were used and that no price charges for.

    Raises:
        PricingError: as ``invoice``.
    """
    with exact():
        aside: list[UnpricedGroup] = []
        for item in bill.items:
            bill.used[item.key] = _add_price(bill, item, aside)
        for step in plan.order.steps:
            if step in ADJUSTMENTS:
                ADJUSTMENTS[step](bill, plan)
        return _finished(bill, plan, period, sorted(unpriced), aside)


def _add_price(bill: Bill, item: Item, aside: list[UnpricedGroup]) -> Counted:
    """Add the line of one item; return what it charges for.

    Groups that it has no price for are put ``aside``. What was used before it is not
    charged for, and where it was in the tiers they go on.
    """
    key, card, usage, before, *_ = item
    currency = bill.currency.code
    if card.meter is None:
        charges = rate(card.price, ZERO, currency=currency).charges
        bill.drafts.append(
            Draft("fee", card.name, of=key, charges=_shared(bill, key, charges))
        )
        return Counted(ZERO, ZERO)
    try:
        priced, unpriced = set_unpriced_aside(card.price, usage.get(card.meter, ZERO))
        past: Usage = ZERO
        if before:
            past, _ = set_unpriced_aside(card.price, before)
        total, note = billable(card, together(past, priced) if past else priced)
        begun = billable(card, past)[0] if past else ZERO
        counted = Counted(priced, total, begun)
        tier_usage = usage.get(card.price.also_reads or "", ZERO)
        charges = rate_behind(
            card.price, counted, currency=currency, tier_usage=tier_usage
        ).charges
    except PricingError as error:
        raise error.within(f"usage.{card.meter}") from error
    aside += [
        UnpricedGroup(
            meter=card.meter, values=group.values, quantity=quantity_of(group.usage)
        )
        for group in unpriced
    ]
    bill.drafts.append(Draft("usage", card.name, of=key, charges=charges, note=note))
    return counted


def _shared(bill: Bill, key: str, charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """Return the charges of a fee, cut to the part of the period that is billed."""
    share = bill.share_of(key)
    if share is None:
        return charges
    part, whole = share
    return tuple(
        replace(
            charge,
            amount=charge.amount * part / whole,
            explanation=f"{charge.explanation} x {number_text(Decimal(part))}"
            f"/{number_text(Decimal(whole))}",
        )
        for charge in charges
    )


def _finished(
    bill: Bill,
    plan: Plan,
    period: Period | None,
    unpriced: Sequence[str],
    aside: Sequence[UnpricedGroup],
) -> Invoice:
    items = {item.key: item for item in bill.items}
    lines: list[Line] = []
    sums: dict[Kind, Decimal] = {"coupon": ZERO, "credit": ZERO, "tax": ZERO}
    total = ZERO
    for draft in bill.drafts:
        item = items.get(draft.of)
        card = item.card if item and draft.kind in ("usage", "fee") else None
        meter = card.meter if card else None
        amount, explanation = bill.summed(draft)
        total += amount
        sums[draft.kind] = sums.get(draft.kind, ZERO) + amount
        lines.append(
            Line(
                kind=draft.kind,
                name=draft.name,
                description=(card.description if card else draft.name)
                + (item.days if item else ""),
                of=bill.name_of(draft),
                meter=meter,
                quantity=quantity_of(item.usage.get(meter, ZERO))
                if item and meter
                else None,
                charges=tuple(draft.charges),
                amount=amount,
                explanation=explanation,
                span=item.span if item else None,
                nth=draft.nth,
                every=draft.every,
            )
        )
    return Invoice(
        plan=plan.name,
        version=plan.version,
        currency=plan.currency,
        period=period,
        lines=tuple(lines),
        subtotal=total - sums["coupon"] - sums["credit"] - sums["tax"],
        coupons=bill.rounded(-sums["coupon"]),
        credits=bill.rounded(-sums["credit"]),
        tax=bill.rounded(sums["tax"]),
        total=bill.rounded(total),
        unpriced=tuple(unpriced),
        unpriced_groups=tuple(aside),
    )


def read_by(cards: Sequence[RateCard]) -> set[str | None]:
    """Return the meters that these prices charge for, or look at."""
    return {name for card in cards for name in (card.meter, card.price.also_reads)}
