"""The rate, the backoff and the breaker keep to their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.stripe.pacing import (
    BREAKER_FAILURES_MAX,
    Backoff,
    Breaker,
    Probes,
    Rate,
)


@given(st.floats(1, 1_000), st.lists(st.floats(0.001, 2), max_size=50))
def test_no_second_ever_sees_much_more_than_the_rate(
    per_s: float, steps: list[float]
) -> None:
    rate = Rate(per_s, 0.0)
    now_s = 0.0
    sent: list[tuple[float, int]] = []
    for step_s in steps:
        now_s += step_s
        n = rate.available(now_s)
        rate.take(n)
        sent.append((now_s, n))

    for start_s, _ in sent:
        inside = sum(n for at_s, n in sent if start_s <= at_s < start_s + 1)
        assert inside <= per_s * 1.25 + 2


def test_a_refusal_halves_the_rate_once_a_second_and_it_recovers() -> None:
    rate = Rate(100, 0.0)
    rate.refuse(1.0)
    rate.refuse(1.5)
    halved = rate.per_s
    rate.refuse(2.0)
    quartered = rate.per_s

    rate.available(200.0)

    assert (halved, quartered, rate.per_s) == (50, 25, 100)


def test_the_rate_never_stops() -> None:
    rate = Rate(25, 0.0)
    for second in range(1, 100):
        rate.refuse(float(second))

    assert rate.per_s == pytest.approx(0.5)


@given(st.integers(0, 10_000))
def test_a_wait_is_random_and_bounded(attempts: int) -> None:
    wait_s = Backoff().wait_s(attempts)

    assert 0 <= wait_s <= min(60, 0.5 * 2 ** min(attempts, 20))


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_probe() -> None:
    breaker = Breaker(first_s=1, max_s=1)
    for _ in range(BREAKER_FAILURES_MAX - 1):
        breaker.fail("HTTP 500", 0.0)
    breaker.succeed()
    for _ in range(BREAKER_FAILURES_MAX - 1):
        breaker.fail("HTTP 500", 0.0)
    closed = breaker.room(0.0)
    breaker.fail("HTTP 500", 0.0)

    assert closed is None
    assert breaker.room(0.0) == 0
    assert breaker.room(1.0) == 1
    assert breaker.reason == "HTTP 500"

    breaker.succeed()

    assert breaker.room(0.0) is None


def test_a_refused_key_opens_the_breaker_at_once() -> None:
    breaker = Breaker()

    breaker.fail("HTTP 401", 0.0, at_once=True)

    assert breaker.room(0.0) == 0


def test_a_probe_waits_twice_as_long_each_time_up_to_five_minutes() -> None:
    probes = Probes()
    probes.begin("tokens", 0.0)
    now_s, waits_s = 0.0, list[float]()

    for _ in range(8):
        before_s = now_s
        while not probes.take("tokens", now_s):
            now_s += 1.0
        waits_s.append(now_s - before_s)

    assert waits_s == [10, 10, 20, 40, 80, 160, 300, 300]


def test_a_probe_that_somebody_asks_for_goes_at_once() -> None:
    probes = Probes()
    probes.begin("tokens", 0.0)

    probes.hurry()

    assert probes.take("tokens", 0.0)
    assert not probes.take("tokens", 0.0)
    assert (probes.end("tokens"), probes.end("tokens")) == (True, False)


def test_the_breaker_lets_a_probe_go_that_somebody_asks_for() -> None:
    breaker = Breaker()
    breaker.fail("HTTP 401", 0.0, at_once=True)

    breaker.hurry()

    assert breaker.room(0.0) == 1
