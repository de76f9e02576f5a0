"""Periods that are over, of very many customers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Period
from meterline_sidecar.billing.close_run import Due, DueList

PERIODS = [Period(0, 10, "a"), Period(5, 10, "b"), Period(0, 20, "c")]


@given(
    st.dictionaries(
        st.text(max_size=2), st.tuples(st.sampled_from(PERIODS), st.integers(10, 12))
    )
)
def test_they_come_in_order_of_their_ends_and_of_customers(
    given: dict[str, tuple[Period, int]],
) -> None:
    all_ = [Due(customer, period, end) for customer, (period, end) in given.items()]
    found = DueList()
    for due in all_:
        found.add(due)

    assert list(found) == sorted(all_, key=lambda due: (due.period.end, due.customer))
    assert len(found) == len(all_)
    periods: Counter[Period] = Counter()
    for period, n_customers in found.periods():
        periods[period] += n_customers
    assert periods == Counter(due.period for due in all_)

    found.clear()

    assert list(found) == []
