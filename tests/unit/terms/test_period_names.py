"""What people call a billing period."""

import pytest

from meterline_pricing import PricingError
from meterline_sidecar.terms.period_names import period_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("last", "last"), (" Last ", "last"), ("this", "this")),
        *(("2026-10", "2026-10"), ("2026-11-23", "2026-11-23")),
    ],
)
def test_a_period_is_named_or_said_in_a_word(text: str, name: str) -> None:
    assert period_name(text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("lst", "did you mean `last`?"), ("previous", "did you mean `last`?")),
        *(("2026-13", "write `last`"), ("2026", "a month such as 2026-10"), ("", "``")),
    ],
)
def test_what_is_no_period_is_told_what_is_possible(text: str, said: str) -> None:
    with pytest.raises(PricingError) as refused:
        period_name(text)

    assert said in str(refused.value)


def test_a_year_is_one_only_where_lists_are_asked_for() -> None:
    assert period_name("2026", takes_year=True) == "2026"
    with pytest.raises(PricingError, match="write a year"):
        period_name("26", takes_year=True)
