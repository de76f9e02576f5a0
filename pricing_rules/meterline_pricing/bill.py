"""An invoice in the making: lines that steps add to, and what is left of each."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from meterline_pricing.behind import Counted
from meterline_pricing.charge import Charge, explained
from meterline_pricing.money import (
    ZERO,
    Currency,
    Rounding,
    money_text,
    number_text,
    round_money,
)
from meterline_pricing.period import Period
from meterline_pricing.plan import RateCard
from meterline_pricing.terms import Credit, Every
from meterline_pricing.usage import Usage

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


class Item(NamedTuple):
    """A rate card on a bill, with what is charged by it."""

    key: str
    """What its lines are known by: its name, or more where two cards have one name."""
    card: RateCard
    usage: Mapping[str, Usage]
    """By meter: by its own, and by the one that finds its tier."""
    before: Usage = ZERO
    """What was used before it in the period: tiers and free units go on behind that."""
    span: Period | None = None
    """For which time it is, where not for all of the period."""
    days: str = ""
    """The same, as it stands behind a description."""


class Given(NamedTuple):
    """What an amount that is given once in a period is known by, whatever changes."""

    kind: Kind
    of: tuple[str | None, str] | str
    """The identity of the rate card whose discount it is; of a credit, how often it is
    granted; empty for the plan's."""
    name: str
    nth: int
    """How many of that name come before it."""


class Payer(NamedTuple):
    """Credits, in order, and what they pay for."""

    credits: tuple[Credit, ...]
    but: frozenset[str] = frozenset()
    """The keys of items that these pay nothing of."""


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
        nth: int = 0,
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.of = of
        """The key of the item that it belongs to; empty for the plan."""
        self.charges = list(charges)
        self.note = note
        """What stands before the charges in the explanation."""
        self.nth = nth
        """Of a term: how many of its name come before it."""
        self.every: Every = "once"
        """Of a credit: how often it is granted."""
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
        items: Sequence[Item],
        payers: Sequence[Payer] = (),
        share: tuple[int, int] | None = None,
        shares: Mapping[str, tuple[int, int] | None] | None = None,
        billed: Mapping[str, Decimal],
        given: dict[Given, Decimal] | None = None,
        is_last: bool = True,
    ) -> None:
        self.currency = currency
        self.rounding: Rounding = rounding
        self.items = items
        self.payers = payers
        self.used: dict[str, Counted] = {}
        """By item: what it was charged for, after conversion and free units."""
        self._names = {item.key: item.card.name for item in items}
        self.share = share
        """The part of the period that is billed here, such as (10, 31) days."""
        self.shares = shares or {}
        """The part for which some items are billed, where theirs is another."""
        self.billed = billed
        """What earlier invoices of this period have charged, by item."""
        self.given = {} if given is None else given
        """What amounts that are given once have given, here and on the bills of earlier
        parts of the period."""
        self.is_last = is_last
        """Whether no other part of the period will follow."""
        self.drafts: list[Draft] = []

    def add(
        self,
        kind: Kind,
        name: str,
        amount: Decimal,
        text: str,
        *,
        of: str = "",
        nth: int = 0,
    ) -> Draft:
        """Add a line of one charge, and return it."""
        draft = Draft(kind, name, of=of, charges=[Charge(amount, text)], nth=nth)
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
        nth: int = 0,
        every: Every = "once",
    ) -> Decimal:
        """Add a line that takes ``amount`` from the lines of ``scope``.

        Each line bears its share by what is left of it, in whole minor units. No more
        is taken than is left. Returns what was taken.
        """
        left = self.left_of(scope)
        if left < self.rounded(amount):
            amount = left
        taken = self.rounded(amount)
        if taken <= 0:
            return ZERO
        line = self.add(kind, name, -amount, f"- {text}", nth=nth)
        line.takes, line.every = True, every
        parts = split_amount(
            taken, [self.left(draft) for draft in scope], self.currency.minor_unit
        )
        for draft, part in zip(scope, parts, strict=True):
            if lowers_tax:
                draft.reduced += part
            else:
                draft.paid += part
        return taken

    def scope(self, on: Sequence[str] = ()) -> list[Draft]:
        """Return the lines of some rate cards, or of all; never those that take.

        Taxes are of no rate card, and of all.
        """
        return [
            draft
            for draft in self.drafts
            if not draft.takes
            and (not on or (draft.kind != "tax" and self.name_of(draft) in on))
        ]

    def lines_of(self, key: str) -> list[Draft]:
        """Return the lines of an item, or of all where it is empty; as ``scope``."""
        return [draft for draft in self.scope() if not key or draft.of == key]

    def name_of(self, draft: Draft) -> str:
        """Return the name of the rate card that a line is of; empty for the plan."""
        return self._names.get(draft.of, "")

    def take_within(self, draft: Draft, amount: Decimal, text: str) -> None:
        """Take an amount from a line by a charge in it; at most what is left of it."""
        taken = min(amount, self.unpaid(draft))
        if taken > 0:
            draft.charges.append(Charge(-taken, f"- {text}"))

    def rest_of(self, term: Given, amount: Decimal) -> Decimal:
        """Return what is left of an amount that is given once."""
        return max(amount - self.given.get(term, ZERO), ZERO)

    def note_given(self, term: Given, taken: Decimal) -> None:
        """Note what an amount that is given once has given."""
        self.given[term] = self.given.get(term, ZERO) + taken

    def rounded(self, amount: Decimal) -> Decimal:
        """Return an amount in whole minor units."""
        return round_money(amount, self.currency, self.rounding)

    def unpaid(self, draft: Draft) -> Decimal:
        """Return what is still to be paid of a line, not rounded."""
        return max(draft.amount - draft.reduced - draft.paid, ZERO)

    def left(self, draft: Draft) -> Decimal:
        """Return what is still to be paid of a line, rounded."""
        return self.rounded(draft.amount) - draft.reduced - draft.paid

    def left_of(self, scope: Iterable[Draft]) -> Decimal:
        """Return what is still to be paid of some lines, rounded."""
        return sum((self.left(draft) for draft in scope), ZERO)

    def billed_on(self, key: str) -> Decimal:
        """Return what earlier invoices of this period charged for an item, or all."""
        amounts = [a for of, a in self.billed.items() if not key or of == key]
        return sum(amounts, ZERO)

    def share_of(self, key: str) -> tuple[int, int] | None:
        """Return the part of the period for which an item is billed.

        The key is empty for what belongs to the whole plan. ``None``: all of it.
        """
        return self.shares.get(key, self.share)

    def shared(self, amount: Decimal, key: str) -> Decimal:
        """Return the share of an item's amount that belongs to this part."""
        share = self.share_of(key)
        if share is None:
            return amount
        part, whole = share
        return self.rounded(amount * part / whole)

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
    # Remainders, and not quotients: of 1/3 and 10/3 the fractions have other digits. That
    # of a decimal number has its sign, and here it is what is above the lower unit.
    whole = sum(weights, ZERO) * minor_unit
    losses = [(total * weight % whole + whole) % whole for weight in weights]
    units = [
        (total * weight - loss) / whole
        for weight, loss in zip(weights, losses, strict=True)
    ]
    by_loss = sorted(range(len(units)), key=lambda i: losses[i], reverse=True)
    missing = int(total / minor_unit - sum(units, ZERO))
    rounded_up = by_loss[:missing]
    return [(count + (i in rounded_up)) * minor_unit for i, count in enumerate(units)]
