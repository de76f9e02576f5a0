"""How long the shipping thread rests: as long as everything that is promised allows."""

from math import inf

import pytest

from meterline.pace import BURST_BYTES_PER_S, BUSY_POLL_S, POLL_S, REST_S, rest_s

MUCH = 10 * BURST_BYTES_PER_S


@pytest.mark.parametrize(
    ("left_bytes", "due_s", "expected_s"),
    [
        (MUCH, inf, REST_S),
        (int(BURST_BYTES_PER_S * 0.2), inf, 0.2),  # as long as a burst leaves room
        (0, inf, POLL_S),  # no other thread makes room any earlier
        (MUCH, 0.05, 0.05),  # for a sync or another attempt
        (0, 0.05, 0.05),
        (MUCH, 1.0, REST_S),
        (MUCH, -1.0, BUSY_POLL_S),  # late already
    ],
)
def test_a_rest_ends_in_time(left_bytes: int, due_s: float, expected_s: float) -> None:
    assert rest_s(left_bytes=left_bytes, due_s=due_s) == pytest.approx(expected_s)
