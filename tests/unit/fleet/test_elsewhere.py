"""Numbers that another edge has counted are left out, and are not said to be covered."""

import pytest

from meterline_sidecar.fleet.elsewhere import below, is_within

PARTS = [(4, 6), (7, 9), (12, 20)]


@pytest.mark.parametrize(
    ("seq", "is_left_out", "covered"),
    [(1, False, 1), (4, True, 3), (9, True, 3), (11, False, 11), (15, True, 11)],
)
def test_what_is_covered_is_the_last_number_outside_of_all_parts(
    seq: int, *, is_left_out: bool, covered: int
) -> None:
    assert is_within(seq, PARTS) == is_left_out
    assert below(seq, PARTS) == covered


def test_of_nothing_but_what_another_one_has_nothing_is_covered() -> None:
    assert below(3, [(1, 5)]) == 0
