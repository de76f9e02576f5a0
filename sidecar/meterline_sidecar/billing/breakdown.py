"""What an amount is made of: net, each tax by its rate, and what credits paid.

An invoice says it line by line. A credit note has no lines: it takes back a part of all
that its invoice is made of, in the invoice's proportions, to the smallest unit of the
currency. Whatever credit notes there are, together they take back of nothing more than
there is, and all of it once all of the invoice is credited.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from meterline_pricing import Invoice, Line
from meterline_pricing.tools import currency_of, rate_and_base
from meterline_sidecar.decimals import minus, of_units, total_of

ZERO = Decimal(0)


class TaxShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tax, as a line of an invoice has it; also one of 0, which says why."""

    title: str
    percent: Decimal | None = None
    """``None``: several rates are rounded together, or nobody knows."""
    base: Decimal | None = None
    """What it is taken of; ``None`` where the percentage is."""
    amount: Decimal


class Breakdown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an amount in one currency is made of; on a credit note all is below zero."""

    currency: str
    net: Decimal = ZERO
    """Before taxes, and before what credits paid."""
    taxes: tuple[TaxShare, ...] = ()
    credits: Decimal = ZERO
    """What credits paid, below zero: money that was there before, and lowers no tax."""
    adjustments: Decimal = ZERO
    """Adjustments of earlier periods that do not say their tax."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing of anything."""
        return not any((self.net, self.credits, self.adjustments)) and not any(
            tax.amount for tax in self.taxes
        )

    @property
    def tax(self) -> Decimal:
        """All taxes together."""
        return _sum(tax.amount for tax in self.taxes)

    @property
    def amount(self) -> Decimal:
        """All together."""
        return _sum((self.net, self.tax, self.credits, self.adjustments))


def of_invoice(drawn: Invoice, *, credits_lower_tax: bool) -> Breakdown:
    """Return what an invoice comes to is made of.

    Args:
        credits_lower_tax: then they are discounts, and the net is what they left of it.
    """
    credit = _sum(line.amount for line in drawn.lines if line.kind == "credit")
    paid = ZERO if credits_lower_tax else credit
    net = _sum(line.amount for line in drawn.lines if line.kind != "tax")
    own = Breakdown(
        currency=drawn.currency,
        net=_sum((net, _less(paid))),
        taxes=tuple(_tax_of(line) for line in drawn.lines if line.kind == "tax"),
        credits=paid,
    )
    return together(own.currency, [own])


def together(currency: str, parts: Iterable[Breakdown]) -> Breakdown:
    """Return what several amounts in a currency are made of, taxes alike as one."""
    parts = list(parts)
    taxes: dict[tuple[str, Decimal | None], TaxShare] = {}
    for tax in (tax for part in parts for tax in part.taxes):
        known = taxes.get(_key(tax))
        taxes[_key(tax)] = tax if known is None else _plus(known, tax)
    return Breakdown(
        currency=currency,
        net=_sum(part.net for part in parts),
        taxes=tuple(taxes.values()),
        credits=_sum(part.credits for part in parts),
        adjustments=_sum(part.adjustments for part in parts),
    )


def less(whole: Breakdown, taken: Breakdown) -> Breakdown:
    """Return what is left of an amount."""
    return together(whole.currency, [whole, negative(taken)])


def negative(whole: Breakdown) -> Breakdown:
    """Return what takes an amount back."""
    return Breakdown(
        currency=whole.currency,
        net=_less(whole.net),
        taxes=tuple(
            replace(
                tax,
                amount=_less(tax.amount),
                base=None if tax.base is None else _less(tax.base),
            )
            for tax in whole.taxes
        ),
        credits=_less(whole.credits),
        adjustments=_less(whole.adjustments),
    )


def part_of(whole: Breakdown, taken: Breakdown, amount: Decimal) -> Breakdown:
    """Return what a part of an invoice is made of that is credited.

    What credits paid stays paid. Where adjustments gave more of them back than were used,
    that is owed like everything else, and the part is one of it as well.

    Args:
        whole: the invoice.
        taken: what was credited of it before.
        amount: above zero, in whole minor units, and at most what is left of it.
    """
    atoms = _Atoms.of(replace(whole, credits=max(ZERO, whole.credits)))
    shares = share_out(
        atoms.units(whole), atoms.units(taken), atoms.in_minor_units(amount)
    )
    return atoms.breakdown(shares)


def share_out(parts: Sequence[int], taken: Sequence[int], amount: int) -> list[int]:
    """Return how much of an amount falls on each part of a whole.

    As near as whole numbers can be to the proportions of all that is taken by then, and
    of no part more than is left of it, nor less than nothing.

    Args:
        parts: of the whole, which is above zero; one may be below zero.
        taken: of each part before.
        amount: above zero, and at most what is left.
    """
    whole, after = sum(parts), sum(taken) + amount
    ideal = [
        Fraction(part * after, whole) - done
        for part, done in zip(parts, taken, strict=True)
    ]
    bounds = [sorted((0, part - done)) for part, done in zip(parts, taken, strict=True)]
    found = [
        min(max(floor(one), low), high)
        for one, (low, high) in zip(ideal, bounds, strict=True)
    ]
    while missing := amount - sum(found):  # a unit for each part, or fewer
        step = 1 if missing > 0 else -1
        i = max(
            (
                i
                for i, (low, high) in enumerate(bounds)
                if low <= found[i] + step <= high
            ),
            key=lambda i: step * (ideal[i] - found[i]),
        )
        found[i] += step
    return found


class _Atoms(NamedTuple):
    """The parts of an invoice that add up to it, and to what its taxes are taken of.

    They are what no tax of a part alone is taken of, what each such tax is taken of, each
    tax, credits that are owed, and the adjustments.
    """

    whole: Breakdown
    bases: tuple[int, ...]
    """Which taxes are taken of a part of their own."""

    @classmethod
    def of(cls, whole: Breakdown) -> "_Atoms":
        bases = tuple(
            i
            for i, tax in enumerate(whole.taxes)
            if tax.base is not None and tax.base != whole.net
        )
        apart = _sum(whole.taxes[i].base or ZERO for i in bases)
        return cls(whole, bases if 0 <= apart <= whole.net else ())

    def in_minor_units(self, amount: Decimal) -> int:
        """Return a whole amount in smallest units, such as cents."""
        unit = currency_of(self.whole.currency).minor_unit
        units = Fraction(amount) / Fraction(unit)
        assert units.denominator == 1, "every line is rounded to whole units"
        return units.numerator

    def units(self, of: Breakdown) -> list[int]:
        """Return an amount by these parts."""
        taxes = {_key(tax): tax for tax in of.taxes}
        nothing = TaxShare(title="", amount=ZERO, base=ZERO)
        found = [taxes.get(_key(tax), nothing) for tax in self.whole.taxes]
        bases = [found[i].base or ZERO for i in self.bases]
        rest = _sum((of.net, _less(_sum(bases))))
        owed = of.credits if self.whole.credits else ZERO
        taxes_of = (tax.amount for tax in found)
        amounts = (rest, *bases, *taxes_of, owed, of.adjustments)
        return [self.in_minor_units(amount) for amount in amounts]

    def breakdown(self, units: Sequence[int]) -> Breakdown:
        """Return what an amount is made of, by its parts."""
        whole = self.whole
        scale = currency_of(whole.currency).decimals
        rest, *amounts = (Decimal(of_units(one, scale)) for one in units)
        n_bases = len(self.bases)
        bases = dict(zip(self.bases, amounts[:n_bases], strict=True))
        net = _sum((rest, *bases.values()))
        return Breakdown(
            currency=whole.currency,
            net=net,
            taxes=tuple(
                replace(tax, amount=amount, base=self._base(i, net, bases))
                for i, (tax, amount) in enumerate(
                    zip(whole.taxes, amounts[n_bases:-2], strict=True)
                )
            ),
            credits=amounts[-2] if whole.credits else ZERO,
            adjustments=amounts[-1],
        )

    def _base(
        self, i: int, net: Decimal, bases: Mapping[int, Decimal]
    ) -> Decimal | None:
        """Return what a tax is taken of in a part; ``None`` where that cannot be said."""
        if i in bases:
            return bases[i]
        return net if self.whole.taxes[i].base == self.whole.net else None


def _tax_of(line: Line) -> TaxShare:
    known = [rate_and_base(charge) for charge in line.charges]
    rates = {of[0] for of in known if of is not None}
    if None in known or len(rates) != 1:
        return TaxShare(title=line.description, amount=line.amount)
    return TaxShare(
        title=line.description,
        percent=rates.pop(),
        base=_sum(of[1] for of in known if of is not None),
        amount=line.amount,
    )


def _key(tax: TaxShare) -> tuple[str, Decimal | None]:
    return tax.title, tax.percent


def _plus(one: TaxShare, other: TaxShare) -> TaxShare:
    base = None
    if one.base is not None and other.base is not None:
        base = _sum((one.base, other.base))
    return replace(one, base=base, amount=_sum((one.amount, other.amount)))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return Decimal(total_of(amounts))


def _less(amount: Decimal) -> Decimal:
    return Decimal(minus(ZERO, amount))
