from decimal import Decimal
from typing import Any, get_args
from zoneinfo import available_timezones

import pytest

from meterline_pricing import NotFound, Price, PricingError
from meterline_pricing.errors import unknown
from meterline_pricing.grid import Length
from meterline_pricing.meant import CALLED
from meterline_pricing.models import Rounding
from meterline_pricing.tools import (
    CURRENCIES,
    currency_of,
    money_text,
    nearest,
    number_text,
    round_money,
    stripe_amount,
)

D = Decimal


def test_currencies_have_their_decimals() -> None:
    found = {
        code: currency_of(code).decimals for code in ("usd", "JPY", "bhd", "isk", "mga")
    }

    assert found == {"usd": 2, "JPY": 0, "bhd": 3, "isk": 0, "mga": 2}
    assert len(CURRENCIES) > 160
    with pytest.raises(NotFound, match="unknown currency `usdd`; did you mean `usd`"):
        currency_of("usdd")


@pytest.mark.parametrize(
    ("amount", "code", "sent"),
    [
        ("70.00", "usd", 7000),
        ("500", "jpy", 500),
        ("5", "isk", 500),
        ("5", "ugx", 500),
        ("5", "mga", 5),
        ("1.234", "bhd", 1230),
        ("1.235", "kwd", 1240),
        ("-12.30", "eur", -1230),
    ],
)
def test_stripe_gets_integers_with_its_special_cases(
    amount: str, code: str, sent: int
) -> None:
    assert stripe_amount(D(amount), code) == sent


@pytest.mark.parametrize(
    ("amount", "code"),
    [("0.001", "usd"), ("0.5", "isk"), ("1.5", "mga"), ("1.5", "jpy")],
)
def test_stripe_is_never_sent_a_part_of_what_it_can_take(
    amount: str, code: str
) -> None:
    with pytest.raises(PricingError, match="Stripe does not take"):
        stripe_amount(D(amount), code)


@pytest.mark.parametrize(
    ("rounding", "up", "down"),
    [
        ("half_up", "0.13", "-0.13"),
        ("half_even", "0.12", "-0.12"),
        ("up", "0.13", "-0.13"),
        ("down", "0.12", "-0.12"),
    ],
)
def test_a_refund_is_rounded_like_its_charge(
    rounding: Rounding, up: str, down: str
) -> None:
    usd = currency_of("usd")

    assert f"{round_money(D('0.125'), usd, rounding):f}" == up
    assert f"{round_money(D('-0.125'), usd, rounding):f}" == down
    assert f"{round_money(D('-0.0001'), usd, 'half_up'):f}" == "0.00"


def test_an_unknown_rounding_is_refused() -> None:
    rounding: Any = "half_upp"

    with pytest.raises(NotFound, match="did you mean `half_up`"):
        round_money(D(1), currency_of("usd"), rounding)


@pytest.mark.parametrize("amount", [1.5, "2", D("NaN"), D("-Infinity"), D("1E60")])
def test_what_is_no_amount_is_refused(amount: Any) -> None:
    with pytest.raises(PricingError):
        round_money(amount, currency_of("usd"), "half_up")
    with pytest.raises(PricingError):
        stripe_amount(amount, "usd")


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        ("70", "usd", "$70.00"),
        ("0.001", "usd", "$0.001"),
        ("-1234.5", "usd", "-$1,234.50"),
        ("1234567", "jpy", "¥1,234,567"),
        ("0.35", "jpy", "¥0.35"),
        ("70", "chf", "70.00 CHF"),
        ("1E+3", "eur", "€1,000.00"),
    ],
)
def test_amounts_are_written_the_way_people_write_them(
    amount: str, code: str, text: str
) -> None:
    assert money_text(D(amount), currency_of(code)) == text


def test_numbers_have_no_zeros_at_the_end() -> None:
    assert number_text(D("50000.500")) == "50,000.5"
    assert number_text(D("100")) == number_text(D("1E+2")) == "100"
    assert number_text(D("-0.0")) == number_text(D(0)) == "0"
    assert money_text(D("1.50"), None) == "1.5"


@pytest.mark.parametrize(
    ("what", "written", "said"),
    [
        *(("currency", "dollar", "`usd`"), ("currency", "US-Dollar", "`usd`")),
        *(("currency", "\N{EURO SIGN}", "`eur`"), ("currency", "yen", "`jpy`")),
        ("currency", "franconian", "expected a code of ISO 4217, such as `usd`"),
        *(("period", "quaterly", "`quarter`"), ("rounding", "bankers", "`half_even`")),
        *(("time zone", "PST", "America/Los_Angeles"), ("rounding", "x", "known are")),
        ("time zone", "new york", "`America/New_York`"),
    ],
)
def test_a_word_from_elsewhere_is_understood(
    what: str, written: str, said: str
) -> None:
    known = {
        "currency": CURRENCIES,
        "period": get_args(Length),
        "rounding": get_args(Rounding),
        "time zone": available_timezones(),
    }

    assert said in unknown(what, written, known[what])


def test_every_word_from_elsewhere_leads_to_a_name_of_here() -> None:
    known = {
        "currency": CURRENCIES,
        "period": get_args(Length),
        "rounding": get_args(Rounding),
        "time zone": available_timezones(),
        "model": [model.__struct_config__.tag for model in get_args(Price)],
    }

    for what, names in known.items():
        assert {*CALLED[what]} <= {*names}, what
    for what, called in CALLED.items():
        words = " ".join(called.values()).split()
        assert len(words) == len(set(words)), what


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modle", "model"),
        ("MODEL", "model"),
        ("mode", "model"),
        ("tires", "tiers"),
        ("xyz", None),
    ],
)
def test_the_nearest_name_is_found(written: str, meant: str | None) -> None:
    assert nearest(written, ["model", "tiers", "unit_amount"]) == meant
