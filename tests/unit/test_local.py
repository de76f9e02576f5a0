"""Amounts and days as people of a country write them: with all their digits."""

import sys
from datetime import date
from decimal import Decimal

import pytest
from babel.numbers import parse_decimal
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.local import (
    local_day,
    local_money,
    local_number,
    why_unknown,
    written_for,
)
from meterline_sidecar.web.documents.paper import span_words
from meterline_sidecar.web.view.render import money

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("locale", "amount", "currency", "written"),
    [
        ("de-DE", "1234567.5", "eur", f"1.234.567,50{SPACE}€"),
        ("de_DE", "-0.001", "usd", f"-0,001{SPACE}$"),
        ("de-DE", "185.175", "kwd", f"185,175{SPACE}KWD"),
        ("de-DE", "3", "jpy", f"3{SPACE}¥"),
        ("en-US", "1234.5", "usd", "$1,234.50"),
        ("en-US", f"{10**28}.01", "usd", f"${10**28:,}.01"),
    ],
)
def test_an_amount_has_all_its_digits_and_those_of_its_currency(
    locale: str, amount: str, currency: str, written: str
) -> None:
    with written_for(locale):
        assert money(Decimal(amount), currency) == written

    assert local_money(Decimal(amount), currency) is None


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=20, max_value=Decimal(10) ** 40
    ),
    st.sampled_from(("de_DE", "fr_FR", "en_GB", "pl_PL")),
)
def test_no_digit_of_a_number_is_lost(number: Decimal, locale: str) -> None:
    with written_for(locale):
        text = local_number(number)

    assert text is not None
    assert parse_decimal(text, locale=locale) == number


def test_days_have_their_month_in_words() -> None:
    first, last = date(2026, 12, 1), date(2026, 12, 31)
    with written_for("de-DE"):
        assert local_day(first) == "1. Dezember 2026"
        assert (
            span_words(first, last) == "1. Dezember 2026 \N{EN DASH} 31. Dezember 2026"
        )

    assert span_words(first, last) == "1 to 31 December 2026"


def test_what_is_no_locale_is_said_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert why_unknown("de-CH") is None
    assert "unknown locale" in str(why_unknown("xx-YY"))
    monkeypatch.setitem(sys.modules, "babel", None)
    assert "pip install 'meterline[sidecar,locale]'" in str(why_unknown("de-CH"))
