from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.meters import Meter, StatusRange, Where
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage.aggregate import WINDOW_MS, Folder, Place
from tests.producer import NOON_MS

ENDPOINTS = {1: ("GET", "/v1/items"), 2: ("POST", "/v1/items"), 3: ("GET", "")}


def facts(number: int = 1, **changes: Any) -> EventFacts:
    plain = EventFacts(
        id=number,
        time_ms=NOON_MS,
        kind=0,
        subject_id=7,
        endpoint_id=1,
        status=200,
        duration_us=1_500,
        bytes_in=10,
        bytes_out=100,
        quantities=None,
    )
    return plain._replace(**changes)


def totals(meter: Meter, *events: EventFacts) -> dict[str, object]:
    """Return what the meter adds up, by group labels."""
    deltas = Folder([meter], ENDPOINTS).fold(events)
    return {
        place.labels: delta.totals.get(meter.name, delta.unique.get(meter.name))
        for place, delta in deltas.items()
    }


def test_count_counts_requests_and_not_uses() -> None:
    meter = Meter("calls", "count", where=Where(kind=("request", "websocket")))

    found = totals(meter, facts(1), facts(2, kind=1), facts(3, kind=2))

    assert found == {"{}": 2}


def test_sum_takes_a_named_quantity_and_passes_over_events_without_it() -> None:
    meter = Meter("tokens", "sum", value="quantities.tokens")

    found = totals(
        meter, facts(1, quantities='{"tokens":5}'), facts(2), facts(3, quantities="{}")
    )

    assert found == {"{}": 5}


def test_units_are_one_unless_the_app_recorded_them() -> None:
    meter = Meter("units", "sum", value="units")

    assert totals(meter, facts(1), facts(2, quantities='{"units":3}')) == {"{}": 4}


def test_sums_go_beyond_64_bits() -> None:
    meter = Meter("tokens", "sum", value="quantities.t")
    huge = f'{{"t":{2**63 - 1}}}'

    found = totals(meter, facts(1, quantities=huge), facts(2, quantities=huge))

    assert found == {"{}": 2**64 - 2}


def test_latest_is_by_the_time_of_the_event_then_by_its_arrival() -> None:
    meter = Meter("seats", "latest", value="quantities.seats")

    found = totals(
        meter,
        facts(1, quantities='{"seats":1}', time_ms=NOON_MS + 5),
        facts(2, quantities='{"seats":2}', time_ms=NOON_MS + 9),
        facts(3, quantities='{"seats":3}', time_ms=NOON_MS + 9),
        facts(4, quantities='{"seats":4}', time_ms=NOON_MS + 1),
    )

    assert found == {"{}": [3, NOON_MS + 9, 3]}


def test_max_and_unique() -> None:
    events = [facts(1, bytes_out=5), facts(2, bytes_out=9, endpoint_id=2), facts(3)]

    assert totals(Meter("top", "max", value="bytes_out"), *events) == {"{}": 100}
    assert totals(Meter("who", "unique", value="route"), *events) == {
        "{}": {"/v1/items"}
    }


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        (Where(), {1, 2, 3}),
        (Where(route=("/v1/*",)), {1, 2}),
        (Where(route=("unmatched",)), {3}),
        (Where(method=("POST",)), {2}),
        (Where(status=(StatusRange(200, 299),)), {1, 3}),
        (Where(status=(StatusRange(200, 200), StatusRange(500, 599))), {1, 2, 3}),
    ],
)
def test_where_takes_events_by_route_method_and_status(
    where: Where, taken: set[int]
) -> None:
    meter = Meter("ids", "unique", value="quantities.id", where=where)
    events = [
        facts(
            i, endpoint_id=i, status=500 if i == 2 else 200, quantities=f'{{"id":{i}}}'
        )
        for i in (1, 2, 3)
    ]

    assert totals(meter, *events) == {"{}": {str(i) for i in taken}}


def test_groups_are_labelled_by_their_dimensions() -> None:
    meter = Meter("calls", "count", group_by=("route", "method"))

    found = totals(meter, facts(1), facts(2, endpoint_id=2), facts(3, endpoint_id=3))

    assert found == {
        '{"route":"/v1/items","method":"GET"}': 1,
        '{"route":"/v1/items","method":"POST"}': 1,
        '{"route":"unmatched","method":"GET"}': 1,
    }


@given(st.integers(min_value=0, max_value=2**50))
def test_every_event_falls_into_the_window_that_holds_it(time_ms: int) -> None:
    deltas = Folder([Meter("calls", "count")], ENDPOINTS).fold([facts(time_ms=time_ms)])

    (place,) = deltas
    assert place.window_ms <= time_ms < place.window_ms + WINDOW_MS
    assert place == Place(7, place.window_ms, "{}")
