"""A document as HTML that prints: alone in a file, or within a page."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Final

from meterline_pricing.tools import number_text
from meterline_sidecar.decimals import Number
from meterline_sidecar.local import local_day, local_number, written_for
from meterline_sidecar.printable import in_order
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.answers.money import ShownOwed, ShownTax
from meterline_sidecar.web.documents.standing import asked_of, standings_of, voided_of
from meterline_sidecar.web.view.render import FILTERS, environment, money

STYLE: Final = (
    resources.files("meterline_sidecar.web") / "static" / "paper.css"
).read_text(encoding="utf-8")


def long_day(day: date) -> str:
    """Return a day as it stands on paper: ``1 December 2026``."""
    return local_day(day) or f"{day.day} {day:%B %Y}"


def span_words(first: date, last: date) -> str:
    """Return a span of days as it stands on paper: ``1 to 31 October 2026``."""
    if first == last:
        return long_day(first)
    if (start := local_day(first)) is not None:
        return f"{start} \N{EN DASH} {local_day(last)}"
    start = long_day(first).removesuffix(f" {last:%Y}")
    if (first.year, first.month) == (last.year, last.month):
        start = str(first.day)
    return f"{start} to {long_day(last)}"


def exact(number: Number, unit: str = "") -> str:
    """Return a quantity with all its digits, and its unit."""
    text = local_number(Decimal(number)) or number_text(Decimal(number))
    return f"{text} {unit}".rstrip()


def tax_words(tax: ShownTax, currency: str) -> str:
    """Return how a tax came about, as an invoice says it: ``19% of -$4.20``."""
    assert tax.percent is not None, "it goes with the base"
    return f"{exact(tax.percent)}% of {money(tax.base, currency)}"


def amounts(owed: Sequence[ShownOwed]) -> str:
    """Return amounts in several currencies as a sentence lists them."""
    return " and ".join(money(one.amount, one.currency) for one in owed)


FILTERS.update(
    {
        "amounts": amounts,
        "asked": asked_of,
        "standings": standings_of,
        "voided": voided_of,
        "long_day": long_day,
        "exact": exact,
        "until": span_words,
        "tax_words": tax_words,
        "in_order": in_order,
    }
)


def file_of(shown: DocumentAnswer, *, paper: str, locale: str | None = None) -> str:
    """Return a document as a file of HTML in which all stands that it needs.

    Args:
        paper: the size of its sheets when it is printed, such as ``A4``.
        locale: for whom its amounts and days are written.
    """
    with written_for(locale):
        return (
            environment()
            .get_template("document_file.html")
            .render(shown=shown, paper=paper, style=STYLE)
        )
