"""The steps of an invoice after its prices: one function for each."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

from msgspec.structs import replace

from meterline_pricing.behind import by_part, rate_behind
from meterline_pricing.bill import Bill, Draft, Given, Item
from meterline_pricing.charge import Charge, percent_charge
from meterline_pricing.money import ZERO, number_text, round_money
from meterline_pricing.order import StepName
from meterline_pricing.plan import Plan, committed_amount
from meterline_pricing.price import PerGroup
from meterline_pricing.terms import Commitment, numbered


def amount_discounts(bill: Bill, plan: Plan) -> None:
    """Take the discounts that are amounts: in a price's own line, or by a new line."""
    for item in bill.items:
        for discount, nth in numbered(item.card.discounts):
            if discount.amount is not None:
                term = Given("discount", item.card.identity, discount.name, nth)
                for draft in bill.lines_of(item.key):
                    left = bill.rest_of(term, discount.amount)
                    taken = min(left, bill.unpaid(draft))
                    text = f"{bill.text(taken)} {discount.name}"
                    bill.take_within(draft, taken, text)
                    bill.note_given(term, taken)
    for discount, nth in numbered(plan.discounts):
        if discount.amount is not None:
            scope = bill.scope(discount.on)
            _take_amount(bill, "discount", discount.name, discount.amount, scope, nth)


def percent_discounts(bill: Bill, plan: Plan) -> None:
    """Take the discounts in percent, each of what the one before it left."""
    for item in bill.items:
        for discount in item.card.discounts:
            if discount.percent is not None:
                name = f"{number_text(discount.percent)}% {discount.name}"
                for draft in bill.lines_of(item.key):
                    taken = bill.unpaid(draft) * discount.percent / 100
                    bill.take_within(draft, taken, f"{bill.text(taken)} {name}")
    for discount, nth in numbered(plan.discounts):
        if discount.percent is not None:
            scope = bill.scope(discount.on)
            _take_percent(bill, "discount", discount.name, discount.percent, scope, nth)


def minimums(bill: Bill, plan: Plan) -> None:
    """Add what is missing from minimum spends, on the last invoice of a period."""
    if not bill.is_last:
        return
    for item, least in _limits(bill, plan, "minimum_spend"):
        _true_up(bill, "minimum", bill.shared(least, _key(item)), item)


def maximums(bill: Bill, plan: Plan) -> None:
    """Take what is above maximum spends, counting what was billed before."""
    for item, most in _limits(bill, plan, "maximum_spend"):
        _cap(bill, bill.shared(most, _key(item)), item)


def commitments(bill: Bill, plan: Plan) -> None:
    """Charge what is above commitments by their factor, and add what is missing."""
    for item in bill.items:
        commitment = item.card.commitment
        if commitment and commitment.per == "group":
            _commit_by_group(bill, item, commitment)
        elif commitment:
            amount = committed_amount(commitment, item.card.price)
            _commit(bill, commitment, bill.shared(amount, item.key), item)
    if plan.commitment and plan.commitment.amount is not None:
        amount = bill.shared(plan.commitment.amount, "")
        _commit(bill, plan.commitment, amount, None)


def coupons(bill: Bill, plan: Plan) -> None:
    """Take the coupons, in order, each of what the one before it left."""
    for coupon, nth in numbered(plan.coupons):
        scope = bill.scope(coupon.on)
        if coupon.amount is not None:
            _take_amount(bill, "coupon", coupon.name, coupon.amount, scope, nth)
        else:
            percent = coupon.percent or ZERO
            _take_percent(bill, "coupon", coupon.name, percent, scope, nth)


def prepaid_credits(bill: Bill, plan: Plan) -> None:
    """Pay from prepaid credits, in order, until nothing is left to pay."""
    for payer in bill.payers:
        for credit, nth in numbered(payer.credits):
            term = Given("credit", credit.every, credit.name, nth)
            amount = bill.rest_of(term, credit.amount)
            scope = [d for d in bill.scope(credit.on) if d.of not in payer.but]
            # Rounded down: it pays no more than was paid in advance.
            whole = round_money(amount, bill.currency, "down")
            taken = bill.take(
                "credit",
                credit.name,
                whole,
                f"{bill.text(min(whole, bill.left_of(scope)))} of {bill.text(amount)}"
                f" {credit.name}",
                scope,
                lowers_tax=plan.order.credits_lower_tax,
                nth=nth,
                every=credit.every,
            )
            bill.note_given(term, taken)


def taxes(bill: Bill, plan: Plan) -> None:
    """Add the taxes on what discounts, coupons and maximums left of each line."""
    untaxed = [draft for draft in bill.scope() if draft.kind != "tax"]
    drafts: list[Draft] = []
    for tax in plan.taxes:
        lines = [
            draft for draft in untaxed if not tax.on or bill.name_of(draft) in tax.on
        ]
        bases = [bill.rounded(draft.amount) - draft.reduced for draft in lines]
        if tax.per == "invoice":
            bases = [sum(bases, ZERO)]
        draft = Draft("tax", tax.name)
        for base in bases:
            charge = percent_charge(base, tax.percent, bill.currency)
            if tax.per == "line":
                charge = replace(charge, amount=bill.rounded(charge.amount))
            draft.charges.append(charge)
        drafts.append(draft)
    if plan.order.taxes_together and drafts:
        names = ", ".join(dict.fromkeys(draft.name for draft in drafts))
        charges = [charge for draft in drafts for charge in draft.charges]
        drafts = [Draft("tax", names, charges=charges)]
    bill.drafts += drafts


ADJUSTMENTS: Final[dict[StepName, Callable[[Bill, Plan], None]]] = {
    "amount_discount": amount_discounts,
    "percent_discount": percent_discounts,
    "minimum": minimums,
    "maximum": maximums,
    "commitment": commitments,
    "coupon": coupons,
    "credits": prepaid_credits,
    "tax": taxes,
}
"""What each step of an order does, but for the two that give the lines."""


def _take_amount(
    bill: Bill,
    kind: Literal["discount", "coupon"],
    name: str,
    amount: Decimal,
    scope: Sequence[Draft],
    nth: int,
) -> None:
    """Take an amount that is given once in a period, or what is left of it."""
    term = Given(kind, "", name, nth)
    left = min(bill.rest_of(term, amount), bill.left_of(scope))
    text = f"{bill.text(left)} {name}"
    bill.note_given(term, bill.take(kind, name, left, text, scope, nth=nth))


def _take_percent(
    bill: Bill,
    kind: Literal["discount", "coupon"],
    name: str,
    percent: Decimal,
    scope: Sequence[Draft],
    nth: int,
) -> None:
    base = bill.left_of(scope)
    text = f"{number_text(percent)}% of {bill.text(base)} {name}"
    bill.take(kind, name, base * percent / 100, text, scope, nth=nth)


def _limits(
    bill: Bill, plan: Plan, field: str
) -> Iterator[tuple[Item | None, Decimal]]:
    """Yield the limits of the items, then that of the plan with no item."""
    for item in (*bill.items, None):
        limit: Decimal | None = getattr(item.card if item else plan, field)
        if limit is not None:
            yield item, limit


def _key(item: Item | None) -> str:
    return item.key if item else ""


def _true_up(
    bill: Bill, kind: Literal["minimum", "commitment"], least: Decimal, of: Item | None
) -> None:
    """Add a line of what the lines of an item, or all, lack up to ``least``."""
    key = _key(of)
    spent = bill.left_of(bill.lines_of(key)) + bill.billed_on(key)
    if spent < least:
        text = f"{bill.text(least)} {kind} - {bill.text(spent)}"
        bill.add(kind, _title(of, kind), least - spent, text, of=key)


def _title(item: Item | None, kind: str) -> str:
    return f"{item.card.name}: {kind}" if item else kind


def _cap(bill: Bill, ceiling: Decimal, of: Item | None) -> None:
    """Take what the lines of an item, or all, have above ``ceiling``."""
    scope = bill.lines_of(_key(of))
    most = max(ceiling - bill.billed_on(_key(of)), ZERO)
    excess = bill.left_of(scope) - most
    if excess <= 0:
        return
    text = f"{bill.text(excess)} above maximum {bill.text(ceiling)}"
    if of and len(scope) == 1:
        # In the line itself, and so that it rounds to the maximum exactly.
        kept = most + scope[0].reduced + scope[0].paid
        scope[0].charges.append(Charge(kept - scope[0].amount, f"- {text}"))
    else:
        bill.take("maximum", _title(of, "maximum"), excess, text, scope)


def _commit(
    bill: Bill, commitment: Commitment, committed: Decimal, of: Item | None
) -> None:
    """Charge the overage, or the true-up, of one item or of all."""
    scope = bill.lines_of(_key(of))
    before = bill.billed_on(_key(of))
    if of:
        spent = sum((bill.unpaid(draft) for draft in scope), before)
    else:
        spent = bill.left_of(scope) + before
    over = spent - max(committed, before)
    if over > 0:
        _overage(bill, commitment.overage_factor, over, scope, _key(of))
    elif commitment.true_up and bill.is_last:
        _true_up(bill, "commitment", committed, of)


def _overage(
    bill: Bill, factor: Decimal, over: Decimal, scope: list[Draft], key: str
) -> None:
    """Charge what the factor adds to ``over``; below 1 it takes something off.

    In the line itself where it is the only one.
    """
    more = over * (factor - 1)
    if more < 0:
        text = f"{bill.text(over)} overage x {number_text(1 - factor)}"
        if len(scope) == 1:
            bill.take_within(scope[0], -more, text)
        else:
            bill.take("overage", "overage", -more, text, scope)
    elif more:
        text = f"{bill.text(over)} overage x {number_text(factor - 1)}"
        if len(scope) == 1:
            scope[0].charges.append(Charge(more, text))
        else:
            bill.add("overage", "overage", more, text, of=key)


def _commit_by_group(bill: Bill, item: Item, commitment: Commitment) -> None:
    """Hold every group of an item against the commitment by itself."""
    price = item.card.price
    assert isinstance(price, PerGroup)
    committed = committed_amount(commitment, price)
    parts = by_part(bill.used[item.key], price.by)
    over = ZERO
    part, whole = bill.share_of(item.key) or (1, 1)
    # A part of the period has fewer groups, such as hours; each is held to all of it.
    n_groups = Decimal(commitment.groups) * part / whole
    missing = committed * max(n_groups - len(parts), ZERO)
    for group in parts:
        difference = rate_behind(price.price, group).amount - committed
        over += max(difference, ZERO)
        missing += max(-difference, ZERO)
    line = [draft for draft in bill.lines_of(item.key) if draft.kind == "usage"]
    _overage(bill, commitment.overage_factor, over, line, item.key)
    if commitment.true_up and bill.is_last and missing:
        text = f"{bill.text(missing)} missing from {bill.text(committed)} per group"
        title = _title(item, "commitment")
        bill.add("commitment", title, missing, text, of=item.key)
