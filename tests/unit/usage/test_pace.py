"""A step takes fewer events where each comes to a place of its own."""

from typing import Any

from meterline_sidecar.store.edge.usage import Span
from meterline_sidecar.usage.fold import Delta, Place
from meterline_sidecar.usage.step import (
    STEP_EVENTS,
    STEP_PLACES,
    STEP_PLACES_MAX,
    Pace,
    Step,
)


def step(n_events: int, n_places: int, *, is_full: bool = True) -> Step:
    nothing: Any = None
    return Step(
        *(nothing, Span(0, n_events, 0, 0), [], nothing, nothing, nothing),
        deltas={Place(1, i, "{}"): Delta() for i in range(n_places)},
        is_full=is_full,
        is_counted_again=False,
        marks={},
        correction=None,
    )


def test_many_places_make_the_next_step_short_and_few_make_it_longer() -> None:
    pace = Pace()
    assert pace.n_events == STEP_PLACES  # nobody knows yet how it goes
    for _ in range(5):
        pace.note(step(pace.n_events, 10))
    assert pace.n_events == STEP_EVENTS

    pace.note(step(STEP_EVENTS, 2 * STEP_PLACES))
    assert pace.n_events == STEP_EVENTS // 2

    pace.note(step(pace.n_events, STEP_PLACES))  # as it should be
    pace.note(step(5, 5, is_full=False))  # all is counted: it says nothing
    assert pace.n_events == STEP_EVENTS // 2
    pace.note(step(pace.n_events, 3))
    pace.note(step(pace.n_events, 3))
    assert pace.n_events == STEP_EVENTS


def test_a_step_never_takes_less_than_an_event() -> None:
    pace = Pace()

    pace.note(step(1, 2 * STEP_PLACES))

    assert pace.n_events == 1


def test_what_comes_to_too_much_is_not_written_but_read_again() -> None:
    pace = Pace()

    assert pace.admits(step(STEP_EVENTS, STEP_PLACES_MAX))
    assert not pace.admits(step(STEP_EVENTS, STEP_PLACES_MAX + 1))
    assert pace.admits(step(1, STEP_PLACES_MAX + 1))
