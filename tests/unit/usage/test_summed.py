"""What many totals come to at once is what they come to one after the other."""

from decimal import Decimal
from functools import reduce
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Total, Totals
from meterline_sidecar.store.packed_days import NO_PACKS, Packed, pack, unpack
from meterline_sidecar.store.usage import Sums
from meterline_sidecar.usage.summed import by_group, total_of_many

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


ADDING: Final[dict[str, Aggregation]] = {name: name for name in ADDED_UP}
LABELS: Final = {i: f'{{"model":"{i}"}}' for i in range(5)}


@st.composite
def days(draw: st.DrawFn) -> list[dict[int, Totals]]:
    """Return what groups came to on some days; no event is in two of them."""
    number = draw(st.sampled_from(NUMBERS))
    names = st.sets(st.sampled_from(ADDED_UP), min_size=1)
    found: list[dict[int, Totals]] = []
    for day in range(draw(st.integers(1, 5))):
        groups = draw(st.sets(st.sampled_from(sorted(LABELS)), min_size=1))
        found.append(
            {
                i: {
                    name: [draw(number), draw(st.integers(0, 3)), 10 * day + i]
                    if name == "latest"
                    else draw(number)
                    for name in draw(names)
                }
                for i in groups
            }
        )
    return found


@given(days(), st.data())
def test_packed_days_come_to_what_their_rows_do(
    totals: list[dict[int, Totals]], data: st.DataObject
) -> None:
    packed = [data.draw(st.booleans()) for _ in totals]
    rows = [[(LABELS[i], [of]) for i, of in day.items()] for day in totals]
    blocks = [
        block
        for day, is_packed in zip(totals, packed, strict=True)
        if is_packed
        for block in unpack(pack(day))
    ]
    beside = [
        row
        for day, is_packed in zip(rows, packed, strict=True)
        if not is_packed
        for row in day
    ]

    found = by_group(ADDING, Sums(beside, Packed(blocks, LABELS)))

    whole = by_group(ADDING, Sums([row for day in rows for row in day], NO_PACKS))
    assert found == whole
    assert types(found) == types(whole)


def types(found: dict[str, dict[str, Total]]) -> list[tuple[str, str, str]]:
    """Return the kind of each number; of the highest of 1 and 1.00 it is that of either."""
    return sorted(
        (name, labels, type(total).__name__)
        for name, of in found.items()
        if name not in ("max", "min")
        for labels, total in of.items()
    )
