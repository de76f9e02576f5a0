"""An invoice in the making: lines that steps add to, and what is left of each."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from meterline_pricing.charge import Charge, explained
from meterline_pricing.money import (
    EXACT,
    ZERO,
    Currency,
    Rounding,
    money_text,
    number_text,
    round_money,
)

Kind = Literal[
    "usage",
    "fee",
    "minimum",
    "maximum",
    "commitment",
    "overage",
    "discount",
    "coupon",
    "credit",
    "tax",
]


class Draft:
    """One line in the making."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        of: str = "",
        charges: Iterable[Charge] = (),
        note: str = "",
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.of = of
        """The rate card that it belongs to; empty for the plan."""
        self.charges = list(charges)
        self.note = note
        """What stands before the charges in the explanation."""
        self.takes = False
        """Whether it takes from other lines: only those can be discounted, paid and
        taxed."""
        self.reduced = ZERO
        """What taking lines took of it, in whole minor units."""
        self.paid = ZERO
        """What credits took of it that leave the tax alone, in whole minor units."""

    @property
    def amount(self) -> Decimal:
        """The sum of the charges, not rounded."""
        return sum((charge.amount for charge in self.charges), ZERO)


class Bill:
    """All lines in the making, with what rounding and sharing need to know."""

    def __init__(
        self,
        currency: Currency,
        rounding: Rounding,
        *,
        share: tuple[int, int] | None = None,
        shares: Mapping[str, tuple[int, int] | None] | None = None,
        billed: Mapping[str, Decimal],
        is_last: bool = True,
    ) -> None:
        self.currency = currency
        self.rounding: Rounding = rounding
        self.share = share
        """The part of the period that is billed here, such as (10, 31) days."""
        self.shares = shares or {}
        """The part for which some rate cards are billed, where theirs is another."""
        self.billed = billed
        """What earlier invoices of this period have charged, by rate card."""
        self.is_last = is_last
        """Whether no other part of the period will follow."""
        self.drafts: list[Draft] = []

    def add(
        self, kind: Kind, name: str, amount: Decimal, text: str, *, of: str = ""
    ) -> Draft:
        """Add a line of one charge, and return it."""
        draft = Draft(kind, name, of=of, charges=[Charge(amount, text)])
        self.drafts.append(draft)
        return draft

    def take(
        self,
        kind: Kind,
        name: str,
        amount: Decimal,
        text: str,
        scope: Sequence[Draft],
        *,
        lowers_tax: bool = True,
    ) -> None:
        """Add a line that takes ``amount`` from the lines of ``scope``.

        Each line bears its share by what is left of it, in whole minor units. No more
        is taken than is left.
        """
        left = self.left_of(scope)
        if left < self.rounded(amount):
            amount = left
        taken = self.rounded(amount)
        if taken <= 0:
            return
        self.add(kind, name, -amount, f"- {text}").takes = True
        parts = split_amount(
            taken, [self.left(draft) for draft in scope], self.currency.minor_unit
        )
        for draft, part in zip(scope, parts, strict=True):
            if lowers_tax:
                draft.reduced += part
            else:
                draft.paid += part

    def scope(self, on: Sequence[str] = ()) -> list[Draft]:
        """Return the lines of some rate cards, or of all; never those that take."""
        return [
            draft
            for draft in self.drafts
            if not draft.takes and (not on or draft.of in on)
        ]

    def take_within(self, draft: Draft, amount: Decimal, text: str) -> None:
        """Take an amount from a line by a charge in it; at most what is left of it."""
        taken = min(amount, draft.amount - draft.reduced - draft.paid)
        if taken > 0:
            draft.charges.append(Charge(-taken, f"- {text}"))

    def rounded(self, amount: Decimal) -> Decimal:
        """Return an amount in whole minor units."""
        return round_money(amount, self.currency, self.rounding)

    def left(self, draft: Draft) -> Decimal:
        """Return what is still to be paid of a line, rounded."""
        return self.rounded(draft.amount) - draft.reduced - draft.paid

    def left_of(self, scope: Iterable[Draft]) -> Decimal:
        """Return what is still to be paid of some lines, rounded."""
        return sum((self.left(draft) for draft in scope), ZERO)

    def billed_on(self, on: Sequence[str] = ()) -> Decimal:
        """Return what earlier invoices of this period charged for some rate cards."""
        amounts = [
            amount for name, amount in self.billed.items() if not on or name in on
        ]
        return sum(amounts, ZERO)

    def share_of(self, name: str) -> tuple[int, int] | None:
        """Return the part of the period for which a rate card is billed.

        The name is empty for what belongs to the whole plan. ``None``: all of it.
        """
        return self.shares.get(name, self.share)

    def shared(self, amount: Decimal, name: str) -> Decimal:
        """Return the share of a rate card's amount that belongs to this part."""
        share = self.share_of(name)
        if share is None:
            return amount
        part, whole = share
        return self.rounded(amount * part / whole)

    def is_complete(self, name: str) -> bool:
        """Whether nothing of a rate card, or of the plan, will be billed later."""
        return self.is_last or name in self.shares

    def text(self, amount: Decimal) -> str:
        """Return an amount for an explanation."""
        return money_text(amount, self.currency)

    def summed(self, draft: Draft) -> tuple[Decimal, str]:
        """Return what a line comes to, rounded, and how that came about.

        As ``50,000 x $0.00 + 70,000 x $0.001 = $70.00``.
        """
        exact_amount = draft.amount
        amount = self.rounded(exact_amount)
        text = f"{draft.note}{explained(draft.charges)} = {self.text(amount)}"
        if amount != exact_amount:
            text += f" (rounded from {number_text(exact_amount)})"
        return amount, text


def split_amount(
    total: Decimal, weights: Sequence[Decimal], minor_unit: Decimal
) -> list[Decimal]:
    """Return ``total`` in parts that are proportional to ``weights``, not all zero.

    The parts are whole minor units and sum to ``total``, which must be whole too:
    each is rounded down, and what is missing goes, one unit each, to those that lost
    most (of equals, to the first).
    """
    whole = sum(weights, ZERO)
    exact_parts = [total * weight / whole for weight in weights]
    parts = [part.quantize(minor_unit, ROUND_FLOOR, EXACT) for part in exact_parts]
    losses = [exact - part for exact, part in zip(exact_parts, parts, strict=True)]
    by_loss = sorted(range(len(parts)), key=lambda i: losses[i], reverse=True)
    missing = int((total - sum(parts, ZERO)) / minor_unit)
    for i in by_loss[:missing]:
        parts[i] += minor_unit
    return parts
