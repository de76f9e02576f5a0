"""What a change does to money, as it is shown."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Final

from meterline_pricing.tools import currency_of
from meterline_sidecar.billing.compared import Consequences
from meterline_sidecar.billing.statement import Owed
from meterline_sidecar.web.answers.money import ChangedPeriod, MoneyChange, ShownOwed
from meterline_sidecar.web.problems import BadRequest

AMOUNT_MAX: Final = Decimal(10) ** 12


def read_amount(text: str, currency: str) -> Decimal:
    """Return an amount above zero, in whole minor units of a currency.

    Raises:
        BadRequest: it is none; the text says what was expected.
        PricingError: there is no such currency.
    """
    digits = currency_of(currency).decimals
    try:
        amount = Decimal(text)
        is_possible = amount.is_finite() and 0 < amount < AMOUNT_MAX
    except InvalidOperation:
        amount, is_possible = Decimal(0), False
    if not is_possible:
        raise BadRequest(
            f"amount: expected a decimal above 0, such as 25.00, not {text}"
        )
    if amount != round(amount, digits):
        raise BadRequest(
            f"amount: {currency.upper()} has {digits} digits behind the point, not as"
            f" many as {text}"
        )
    return amount


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


def _owed(owed: Owed) -> ShownOwed:
    return ShownOwed(amount=owed.amount, currency=owed.currency)
