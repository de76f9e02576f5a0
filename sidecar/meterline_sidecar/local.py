"""Amounts, quantities and days as people of a country write them: the extra ``locale``.

Which locale holds is known while a page is made, and forgotten behind it: without one
everything is written as ever.
"""

import decimal
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

PACKAGE: Final = "babel"
DIGITS: Final = 400
"""More than any number has: nothing is rounded to be written."""

_locale: ContextVar[str | None] = ContextVar("locale", default=None)


@contextmanager
def written_for(locale: str | None) -> Generator[None]:
    """Write as people of a locale do, such as ``de-DE``, until the end of the block.

    A customer's stays agreed when Babel is not installed any more: until it is again,
    everything is written as ever.
    """
    token = _locale.set(locale if locale and why_unknown(locale) is None else None)
    try:
        yield
    finally:
        _locale.reset(token)


def why_unknown(locale: str) -> str | None:
    """Return why nothing can be written for a locale; ``None``: it can be."""
    if find_spec(PACKAGE) is None:
        return "it takes Babel: pip install 'meterline[sidecar,locale]'"
    unknown: Any = import_module(f"{PACKAGE}.core").UnknownLocaleError
    try:
        _parsed(locale)
    except (ValueError, unknown):
        return "unknown locale; examples are `de-DE` and `en-GB`"
    return None


def local_money(amount: Decimal, currency: str) -> str | None:
    """Return an amount with all its digits; ``None``: no locale holds.

    At least the currency's own decimals, in major units.
    """
    return _written("numbers.format_currency", amount, currency.upper())


def local_number(number: Decimal) -> str | None:
    """Return a number with all its digits; ``None``: no locale holds."""
    plain = number.normalize(decimal.Context(prec=DIGITS))
    return _written("numbers.format_decimal", plain)


def local_day(day: date) -> str | None:
    """Return a day, its month in words; ``None``: no locale holds."""
    locale = _locale.get()
    if locale is None:
        return None
    dates: Any = import_module(f"{PACKAGE}.dates")
    return str(dates.format_date(day, "long", locale=_parsed(locale)))


def _written(function: str, number: Decimal, *more: str) -> str | None:
    locale = _locale.get()
    if locale is None:
        return None
    module, _, name = function.partition(".")
    write: Any = getattr(import_module(f"{PACKAGE}.{module}"), name)
    with decimal.localcontext(decimal.Context(prec=DIGITS)):
        return str(
            write(number, *more, locale=_parsed(locale), decimal_quantization=False)
        )


@cache
def _parsed(locale: str) -> Any:
    core: Any = import_module(f"{PACKAGE}.core")
    return core.Locale.parse(locale.replace("-", "_"))
