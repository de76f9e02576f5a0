"""Exact money: currencies, the one place that rounds, and how amounts are written.

Every calculation of this package runs in ``exact()``: 100 digits, whatever decimal
context the caller has set.
"""

from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from meterline_pricing.errors import NotFound, PricingError, unknown

EXACT: Final = Context(
    prec=100,
    rounding=ROUND_HALF_UP,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[DivisionByZero, InvalidOperation, Overflow],
)


class exact:
    """Makes the operators of ``Decimal`` exact to 100 digits inside a ``with``.

    What ``decimal.localcontext(EXACT)`` does, at half the time: nothing here changes
    the context, so that it need not be copied.
    """

    __slots__ = ("_ambient",)

    def __enter__(self) -> None:
        self._ambient = getcontext()
        setcontext(EXACT)

    def __exit__(self, *_: object) -> None:
        setcontext(self._ambient)


ZERO: Final = Decimal(0)

Rounding = Literal["half_up", "half_even", "up", "down"]
ROUNDINGS: Final[dict[Rounding, str]] = {
    "half_up": ROUND_HALF_UP,
    "half_even": ROUND_HALF_EVEN,
    "up": ROUND_UP,
    "down": ROUND_DOWN,
}
"""``up`` is away from zero and ``down`` towards it, so that a refund is rounded
like the charge that it takes back."""

_GUARD: Final = Decimal((0, (1,), -40))
_WHOLE_DIGITS_MAX: Final = 60  # what 100 digits leave beside the guard's 40

_CODES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN
    BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN
    ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD
    KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR
    MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON
    RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
    TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_SYMBOLS: Final = {
    "EUR": "€",
    "GBP": "£",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "USD": "$",
}

_STRIPE_PLACES: Final = {"isk": 2, "ugx": 2, "mga": 0}  # elsewhere as in ISO 4217


class Currency(Struct, frozen=True):
    """A currency of ISO 4217."""

    code: str
    """Lower case, as Stripe writes it: ``usd``."""
    decimals: int
    """Digits of the minor unit: 2 for cents, 0 for yen, 3 for dinars."""
    symbol: str
    """Written before an amount; the empty text where the code is written after it."""
    minor_unit: Decimal
    """The smallest amount: ``0.01``, ``1``, ``0.001``."""


CURRENCIES: Final = {
    code.lower(): Currency(
        code.lower(), decimals, _SYMBOLS.get(code, ""), Decimal((0, (1,), -decimals))
    )
    for decimals, codes in _CODES.items()
    for code in codes.split()
}
"""Every currency of ISO 4217 that people are billed in, by its code in lower case.

Source: ISO 4217 list one, as published 2025-05-12 by SIX; so with BGN, for periods
before 2026. CLF and UYW (four decimals) are units of account that nobody is paid in, and
left out.
"""


def currency_of(code: str) -> Currency:
    """Return the currency ``code``, in any case.

    Raises:
        NotFound: it is not in ISO 4217.
    """
    found = CURRENCIES.get(str(code).lower())
    if found is None:
        raise NotFound(unknown("currency", str(code), CURRENCIES))
    return found


def round_money(amount: Decimal, currency: Currency, rounding: Rounding) -> Decimal:
    """Return ``amount`` in whole minor units of ``currency``; never a negative zero.

    Raises:
        PricingError: no finite ``Decimal``, one of more than 60 digits before the
            point, or no such rounding.
    """
    _check_amount(amount)
    if rounding not in ROUNDINGS:
        raise NotFound(unknown("rounding", rounding, ROUNDINGS))
    # A quotient such as 1/3 is known to 100 digits only. Without the first rounding
    # 3 x 1/3 of half a cent would be 0.00499... and lose the cent.
    known = amount.quantize(_GUARD, ROUND_HALF_EVEN, EXACT)
    rounded = known.quantize(currency.minor_unit, ROUNDINGS[rounding], EXACT)
    return rounded.copy_abs() if rounded.is_zero() else rounded


def stripe_amount(amount: Decimal, currency: str) -> int:
    """Return a rounded ``amount`` as the integer that Stripe's API takes.

    Cents for most; the amount itself for the currencies that Stripe takes without
    decimals (``mga`` too, which has two in ISO 4217); hundredths for ``isk`` and
    ``ugx``, which have no decimals but are sent with two, always 00; thousandths for
    dinars and rials, the last digit always 0, so rounded half up to tens.

    Raises:
        PricingError: no finite ``Decimal``, or digits below what Stripe can take.

    Source: docs.stripe.com/currencies, read 2026-08-21.
    """
    _check_amount(amount)
    known = currency_of(currency)
    sent = EXACT.scaleb(amount, _STRIPE_PLACES.get(known.code, known.decimals))
    if known.decimals == 3:
        sent = sent.quantize(Decimal("1E1"), ROUND_HALF_UP, EXACT)
    whole = int(sent)
    if whole != sent or (known.code in ("isk", "ugx") and whole % 100):
        raise PricingError(f"Stripe does not take {amount:f} {known.code}")
    return whole


def _check_amount(amount: object) -> None:
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise PricingError(f"expected a finite Decimal, not {amount!r:.60}")
    if amount.adjusted() >= _WHOLE_DIGITS_MAX:
        raise PricingError(f"{amount:.10g} has too many digits for an amount")


def money_text(amount: Decimal, currency: Currency | None) -> str:
    """Return an amount the way people write it: ``$0.001``, ``-$1,234.50``.

    At least the currency's decimals, and all that the amount has beyond them.
    Without a currency the bare number.
    """
    if currency is None:
        return _price_text(amount)
    digits = _price_text(amount.copy_abs())
    whole, _, fraction = digits.partition(".")
    if currency.decimals:
        whole = f"{whole}.{fraction.ljust(currency.decimals, '0')}"
    elif fraction:
        whole = f"{whole}.{fraction}"
    sign = "-" if amount < 0 else ""
    if currency.symbol:
        return f"{sign}{currency.symbol}{whole}"
    return f"{sign}{whole} {currency.code.upper()}"


def number_text(number: Decimal) -> str:
    """Return a number with thousands separated and no zeros at the end: ``50,000``."""
    text = f"{number:z,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_price_text: Final = lru_cache(maxsize=4_096)(number_text)
"""The same; remembered, as the prices of a plan come back with every rating."""
