"""What amounts are made of, and what a change does to money, as it is shown."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from meterline_sidecar.billing.ages import Ages
from meterline_sidecar.billing.breakdown import Breakdown
from meterline_sidecar.billing.compared import Consequences
from meterline_sidecar.billing.statement import Owed
from meterline_sidecar.web.answers.money import (
    ChangedPeriod,
    MoneyChange,
    ShownAges,
    ShownBreakdown,
    ShownOwed,
    ShownTax,
)

LONG: Final = Decimal(10**8)
"""From here on, an amount takes more room than a table has for one on a tablet."""


def broad(amounts: Iterable[Decimal]) -> bool:
    """Return whether a table of these amounts is broader than the screen of a tablet."""
    return any(abs(amount) >= LONG for amount in amounts)


def shown_money(found: Consequences) -> MoneyChange:
    """Return what a change does to money as it is shown."""
    return MoneyChange(
        periods=tuple(
            ChangedPeriod(
                customer=one.customer,
                period=one.period,
                status="final" if one.is_final else "open",
                before=None if one.before is None else _owed(one.before),
                after=None if one.after is None else _owed(one.after),
            )
            for one in found.periods
        ),
        n_periods=found.n_periods,
        open=shown_owed(found.open),
        adjustments=shown_owed(found.adjustments),
        summary=tuple(found.lines()),
    )


def shown_owed(amounts: Iterable[Owed]) -> tuple[ShownOwed, ...]:
    """Return amounts, each in its currency, as they are shown."""
    return tuple(_owed(owed) for owed in amounts)


def shown_ages(ages: Mapping[str, Ages]) -> tuple[ShownAges, ...]:
    """Return what is left to pay by its age, a row for each currency."""
    return tuple(
        ShownAges(currency=currency, total=one.total, **one._asdict())
        for currency, one in sorted(ages.items())
    )


def shown_breakdown(one: Breakdown) -> ShownBreakdown:
    """Return what an amount is made of as it is shown."""
    taxes = tuple(
        ShownTax(title=tax.title, percent=tax.percent, base=tax.base, amount=tax.amount)
        for tax in one.taxes
    )
    return ShownBreakdown(
        currency=one.currency,
        net=one.net,
        tax=one.tax,
        taxes=taxes,
        credits=one.credits,
        adjustments=one.adjustments,
        amount=one.amount,
    )


def _owed(owed: Owed) -> ShownOwed:
    return ShownOwed(amount=owed.amount, currency=owed.currency)
