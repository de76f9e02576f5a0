"""What many totals come to at once is what they come to one after the other."""

from decimal import Decimal
from functools import reduce
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Total
from meterline_sidecar.usage.customer_usage import total_of_many

ADDED_UP: Final[list[Aggregation]] = [
    name for name, row in AGGREGATIONS.items() if not row.is_distinct
]
INTEGERS: Final = st.integers(-(2**70), 2**70)
DECIMALS: Final = st.decimals("-1e9", "1e9", places=6)
NUMBERS: Final[list[st.SearchStrategy[Number]]] = [
    INTEGERS,
    DECIMALS,
    st.one_of(INTEGERS, DECIMALS),
]


@st.composite
def parts(draw: st.DrawFn) -> tuple[Aggregation, list[Total]]:
    aggregation = draw(st.sampled_from(ADDED_UP))
    number = draw(st.sampled_from(NUMBERS))
    numbers = draw(st.lists(number, min_size=1, max_size=9))
    if aggregation != "latest":
        return aggregation, [*numbers]
    return aggregation, [
        [one, draw(st.integers(0, 3)), i] for i, one in enumerate(numbers)
    ]


@given(parts())
def test_many_totals_come_to_what_they_do_one_by_one(
    given: tuple[Aggregation, list[Total]],
) -> None:
    aggregation, totals = given

    found = total_of_many(aggregation, totals)

    one_by_one = reduce(AGGREGATIONS[aggregation].add, totals)
    assert (found, type(found)) == (one_by_one, type(one_by_one))


def test_a_sum_stays_exact_where_a_whole_number_meets_a_fraction() -> None:
    assert total_of_many("sum", [1, Decimal("0.1"), 2]) == Decimal("3.1")
    assert total_of_many("count", [2**63, 1]) == 2**63 + 1
