"""Customers in the order of what they come to."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Period
from meterline_sidecar.billing.ranking import Ranking
from meterline_sidecar.billing.standing import Standing, rank_of

NUMBERS = st.one_of(st.integers(-2, 2), st.sampled_from([-(2**63) + 1, 2**63 - 1]))


@given(st.dictionaries(st.text(max_size=2), st.lists(NUMBERS, min_size=1, max_size=3)))
def test_the_order_is_that_of_numbers_and_of_names(given: dict[str, list[int]]) -> None:
    found = Ranking()
    for customer, numbers in given.items():
        for before, number in zip([None, *numbers], numbers, strict=False):
            if before is not None:
                found.remove(before, customer)
            found.add(number, customer)

    in_order = sorted(given, key=lambda customer: (given[customer][-1], customer))
    assert found[:] == in_order
    assert found[1:3] == in_order[1:3]
    assert len(found) == len(given)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_total_of_any_size_has_a_place(sign: int) -> None:
    standing = Standing(
        customer="acme",
        period=Period(0, 1, "2026-11"),
        quantities={},
        total=sign * Decimal(10) ** 30,
        currency="usd",
        why_not=None,
        as_of_ms=0,
    )
    found = Ranking()

    found.add(*rank_of(standing))
    found.remove(*rank_of(standing))

    assert found[:] == []
