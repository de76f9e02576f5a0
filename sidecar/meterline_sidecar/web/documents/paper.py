"""A document as HTML that prints: alone in a file, or within a page."""

from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Any, Final

from meterline_pricing.tools import number_text
from meterline_sidecar.decimals import Number
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.view.render import ENVIRONMENT

STYLE: Final = (
    resources.files("meterline_sidecar.web") / "static" / "paper.css"
).read_text(encoding="utf-8")


def long_day(day: date) -> str:
    """Return a day as it stands on paper: ``1 December 2026``."""
    return f"{day.day} {day:%B %Y}"


def span_words(first: date, last: date) -> str:
    """Return a span of days as it stands on paper: ``1 to 31 October 2026``."""
    if first == last:
        return long_day(first)
    start = long_day(first).removesuffix(f" {last:%Y}")
    if (first.year, first.month) == (last.year, last.month):
        start = str(first.day)
    return f"{start} to {long_day(last)}"


def exact(number: Number, unit: str = "") -> str:
    """Return a quantity with all its digits, and its unit."""
    return f"{number_text(Decimal(number))} {unit}".rstrip()


# As Any: Jinja's own annotation lists the shapes of its built-in filters.
FILTERS: Final[dict[str, Any]] = {
    "long_day": long_day,
    "exact": exact,
    "until": span_words,
}
ENVIRONMENT.filters.update(FILTERS)


def file_of(shown: DocumentAnswer, *, paper: str) -> str:
    """Return a document as a file of HTML in which all stands that it needs.

    Args:
        paper: the size of its sheets when it is printed, such as ``A4``.
    """
    return ENVIRONMENT.get_template("document_file.html").render(
        shown=shown, paper=paper, style=STYLE
    )
